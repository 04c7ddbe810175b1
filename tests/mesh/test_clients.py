"""Through each proxy, with the files of deploy/: Countersign counts wrong passwords by client, and cookies stay where they belong."""

import itertools
import json
import re

import grpc
import pytest

from asked import ACCESS, NAVIGATION, REFRESH, Answer, allowed, ask, bearer, cookies, send
from conftest import AUDIENCES, KINDS, NAMES
from proxies import DEPLOY, Envoy, Nginx

DEVICE = "__Host-countersign-device"
# Addresses of clients, which no other test counts against. All of 127.0.0.0/8 is this machine.
PLACES = (f"127.0.7.{n}" for n in itertools.count(1))
FREE_ATTEMPTS = 3


@pytest.fixture(scope="module", params=[*KINDS, "envoy"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def edge(kind, job, dev, start):
    """A proxy whose server has the policy file of deploy/, in which the address of the proxy is replaced, and is strict."""
    text = (DEPLOY / "policy.toml").read_text()
    assert "10.0.1.0/24" in text
    file = job.dir / f"{kind}.toml"
    file.write_text(text.replace("10.0.1.0/24", "127.0.0.1/32"))
    settings = ["--browser-sessions", "login-page", "--login-failures-per-source", str(FREE_ATTEMPTS)]
    settings += ["--policy-file", str(file), "--forward-auth", NAMES.get(kind, "path")]
    server = job.serve(f"strict-{kind}", dev, *AUDIENCES, *settings)
    return start(KINDS.get(kind, Envoy), server)


def log_in(edge, source, username, password, *lies):
    body = json.dumps({"username": username, "password": password})
    lines = ["POST /session HTTP/1.1", f"Host: 127.0.0.1:{edge.port}", f"Origin: http://127.0.0.1:{edge.port}", *lies]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", "", body]
    response, wire = send(edge.port, *lines, source=source)
    with wire:
        return Answer(response)


def test_the_wrong_passwords_of_one_client_are_not_those_of_another(edge, job, alice):
    guesser, other = next(PLACES), next(PLACES)
    statuses = []
    for n in range(4 * FREE_ATTEMPTS):
        # What a client says of its address counts for nothing.
        lies = [f"X-Forwarded-For: 127.0.8.{n}", f"X-Real-IP: 127.0.8.{n}", f"Forwarded: for=127.0.8.{n}"]
        statuses.append(log_in(edge, guesser, f"nobody-{guesser}-{n}", "not the password", *lies).status)
    assert statuses[:FREE_ATTEMPTS] == [401] * FREE_ATTEMPTS and 429 in statuses, statuses
    answer = log_in(edge, other, alice.name, alice.password)
    assert answer.status in (200, 201, 204), answer
    for value, _ in answer.cookies().values():
        for part in value.split("~"):
            job.seen.add(part)


def test_nobody_passes_on_a_certificate(edge):
    """A trusted proxy is believed when it names the certificate of a client."""
    answer = allowed(ask(edge.port, "/public/x", [("x-forwarded-client-cert", "URI=spiffe://example.org/ns/shop/sa/x")]))
    assert [value for value in answer.seen("x-forwarded-client-cert") if value] == []


def test_no_cache_keeps_a_renewed_session(kind, edge, job, alice):
    tokens = alice.login()
    for path in ("/orders/for-all", "/orders/for-all/missing"):
        answer = ask(edge.port, path, cookies(refresh=tokens.refresh_token))
        for value, _ in answer.cookies().values():
            for part in value.split("~"):
                job.seen.add(part)
        assert answer.from_app and REFRESH in answer.cookies(), answer
        said = ", ".join(answer.all("cache-control"))
        assert "private" in said and "no-store" in said, answer
        # nginx replaces what the application says of pages that are found, and adds to what it says of others.
        assert "public" not in said or (kind == "nginx" and answer.status == 404), answer
        # Nothing is renewed here.
        answer = ask(edge.port, path, bearer(tokens.access_token))
        assert answer.all("cache-control") == ["public, max-age=3600"], answer


@pytest.mark.parametrize("path", ["/orders", "/public/x", "/catalogue"])
def test_only_the_access_cookie_reaches_the_application(edge, token, path):
    held = {ACCESS: token, REFRESH: "csr_x", DEVICE: "csd_x", "basket": "1", "theme": "dark"}
    names = list(held)
    for names in [names[n:] + names[:n] for n in range(5)] + [names[::-1]]:
        cookie = "; ".join(f"{name}={held[name]}" for name in names)
        answer = allowed(ask(edge.port, path, [("cookie", cookie)] + bearer(token)))
        got = "; ".join(answer.seen("cookie"))
        assert REFRESH not in got and DEVICE not in got, (cookie, got)
        assert sorted(filter(None, re.split(r";\s*", got))) == sorted(f"{n}={held[n]}" for n in (ACCESS, "basket", "theme")), got


@pytest.mark.parametrize("name", [REFRESH, DEVICE])
def test_two_of_a_cookie_do_not_reach_the_application_either(edge, token, name):
    for path in ("/orders", "/public/x"):
        for sent in (
            [("cookie", f"{name}=csr_x; basket=1; {name}=csr_y")],
            [("cookie", f"basket=1;{name}=csr_x;\t{name}=csr_y;{name}=csr_z")],
            [("cookie", f"{name}=csr_x"), ("cookie", f"basket=1; {name}=csr_y")],
        ):
            answer = ask(edge.port, path, sent + bearer(token))
            assert name.encode() not in answer.body, (sent, answer)


def test_the_cookie_of_a_session_that_has_ended_is_taken_on_the_way_to_the_login_page(kind, edge, alice, client):
    first = alice.login()
    second = client.call("Refresh", refresh_token=first.refresh_token).tokens
    client.call("Refresh", refresh_token=second.refresh_token)
    answer = ask(edge.port, "/orders", NAVIGATION + cookies(refresh=first.refresh_token))
    assert answer.status == (401 if kind == "http_service" else 302), answer
    assert answer.get("location").startswith("/login"), answer
    assert answer.cookies()[REFRESH][0] == "", answer
    assert "no-store" in answer.get("cache-control"), answer


class Call:
    """A call of gRPC through nginx: what came of it, and the headers of the answer."""

    def __init__(self, nginx, method="/mesh.Echo/Say", metadata=(), authority=None):
        options = [("grpc.enable_retries", 0)] + [("grpc.default_authority", authority)] * (authority is not None)
        with grpc.insecure_channel(f"127.0.0.1:{nginx.more_port}", options=options) as channel:
            try:
                answer, call = channel.unary_unary(method).with_call(b"", timeout=20, metadata=metadata)
                self.seen = json.loads(answer)
            except grpc.RpcError as error:
                self.seen, call = None, error
            self.code, self.headers = call.code(), list(call.initial_metadata() or [])

    def cookies(self):
        return [value for name, value in self.headers if name == "set-cookie"]


def test_the_grpc_server_of_nginx_guards_paths_and_hosts(start, by_name, token, alice):
    # By the token alone, where Countersign looks at no path.
    nginx = start(Nginx, by_name("token"))
    assert Call(nginx, metadata=bearer(token)).seen is not None
    for method in ("/open/../staff", "/open/;x", "/open/%3bx", "/open\\x", "/open//x", "/open/%00"):
        call = Call(nginx, method, bearer(token))
        assert call.seen is None, (method, call.code)
    nginx = start(Nginx, by_name("x-original"))
    narrow = alice.login(audience=["internal"]).access_token
    assert Call(nginx, metadata=bearer(narrow), authority="shop.example.com").seen is not None
    assert Call(nginx, metadata=bearer(narrow), authority="billing.example.com").code == grpc.StatusCode.PERMISSION_DENIED
    for hosts in (("shop.example.com", "billing.example.com"), ("billing.example.com", "shop.example.com")):
        call = Call(nginx, metadata=bearer(narrow) + [("host", hosts[1])], authority=hosts[0])
        assert call.seen is None, (hosts, call.code)


def test_the_grpc_server_of_nginx_renews_sessions(start, by_name, job, alice):
    nginx = start(Nginx, by_name("x-original"))
    sent = cookies(basket=1, refresh=alice.login().refresh_token)
    sent[0] = ("cookie", f"{sent[0][1]}; {DEVICE}=csd_x")
    call = Call(nginx, metadata=sent)
    [cookie] = call.cookies()
    for part in cookie.partition("=")[2].partition(";")[0].split("~"):
        job.seen.add(part)
    assert cookie.startswith(f"{REFRESH}=csr_"), call.headers
    got = "; ".join(value for name, value in call.seen if name == "cookie")
    assert "basket=1" in got and REFRESH not in got and DEVICE not in got, got
    lied = Call(nginx, metadata=sent[:0] + bearer(cookie.partition("~")[2].partition(";")[0]) + [("x-forwarded-for", "1.2.3.4")])
    assert [value for name, value in lied.seen if name == "x-forwarded-for"] == ["127.0.0.1"]
