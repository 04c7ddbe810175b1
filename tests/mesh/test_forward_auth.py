"""nginx, Caddy, HAProxy and Envoy ask by HTTP, with the files of deploy/: who gets in, and whose the request is."""

import json
import urllib.parse

import grpc
import pytest

from actors import User
from app import COOKIES
from asked import (
    ACCESS,
    IDENTITY,
    NAVIGATION,
    REFRESH,
    SPOOFED,
    Browser,
    allowed,
    ask,
    bearer,
    cookies,
    denied,
    hidden_fields,
)
from conftest import KINDS, NAMES
from processes import free_port, wait_until
from proxies import Envoy, Haproxy, Nginx, port_of
from test_envoy import broken_signature, connect
from websockets.exceptions import InvalidStatus

OPTIONS = [("grpc.enable_retries", 0)]


@pytest.fixture(scope="session", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def proxy(kind, start, by_name):
    return start(KINDS[kind], by_name(NAMES[kind]))


def identity(kind, answer):
    """The five headers of identity as the application got them; nginx passes on no header that is empty."""
    seen = [answer.seen(name) for name in IDENTITY]
    if kind == "nginx":
        assert [""] not in seen
        return [values or [""] for values in seen]
    return seen


def test_a_token_lets_in_and_says_whose_the_request_is(kind, proxy, alice, client):
    tokens = alice.login(audience=["internal"])
    session = client.call("Verify", access_token=tokens.access_token).principal.session_id
    for headers in (bearer(tokens.access_token), cookies(basket=1, access=tokens.access_token)):
        answer = allowed(
            ask(proxy.port, "/orders/7?full=1", SPOOFED + headers, method="POST", body=b"x" * 70_000), alice
        )
        assert identity(kind, answer)[:4] == [[alice.id], [session], ["reader"], ["internal"]]
        assert json.loads(answer.body) | {"headers": 0} == {
            "method": "POST",
            "path": "/orders/7?full=1",
            "headers": 0,
            "body": 70_000,
        }
        assert answer.all("set-cookie") == COOKIES


def test_a_user_name_is_passed_on_where_tokens_say_it(kind, proxy, client):
    jose = User(client, "josé")
    [name] = identity(kind, allowed(ask(proxy.port, "/", bearer(jose.login().access_token)), jose))[4]
    assert urllib.parse.unquote(name) == jose.name and name.isascii()


def test_each_bad_token_is_refused_with_its_reason(proxy, alice, client, token):
    ended = alice.login()
    client.call("Revoke", refresh_token=ended.refresh_token)
    for headers, reason in [
        ([], "TOKEN_MISSING"),
        (SPOOFED, "TOKEN_MISSING"),
        (bearer("nonsense"), "TOKEN_MALFORMED"),
        (bearer(f"{token},{token}"), "TOKEN_MALFORMED"),
        (bearer(broken_signature(token)), "TOKEN_SIGNATURE_INVALID"),
        (bearer(ended.access_token), "TOKEN_REVOKED"),
        (cookies(access=broken_signature(token)), "TOKEN_SIGNATURE_INVALID"),
        ([("cookie", f"{ACCESS}={token}; {ACCESS}={token}")], "TOKEN_MALFORMED"),
        (cookies(refresh="csr_nonsense"), "REFRESH_TOKEN_INVALID"),
    ]:
        answer = ask(proxy.port, "/orders", headers)
        assert answer.status == 401 and not answer.from_app, (headers, answer)
        error = f'Bearer error="invalid_token", error_description="{reason}"'
        assert answer.get("www-authenticate") == ("Bearer" if reason == "TOKEN_MISSING" else error), (headers, answer)


def test_two_authorization_headers_let_nobody_in(kind, proxy, token):
    answer = ask(proxy.port, "/orders", bearer(token) + bearer(token))
    # nginx refuses them itself.
    assert answer.status == (400 if kind == "nginx" else 401) and not answer.from_app, answer


@pytest.mark.parametrize("path", ["/", "/public/x", "/guests", "/open"])
def test_nobody_says_who_he_is(kind, proxy, path, boss, boss_token):
    answer = ask(proxy.port, path, SPOOFED + [("X-AUTH-ROLES", "admin")])
    assert b"spoofed" not in answer.body and b"admin" not in answer.body
    if path == "/":
        assert answer.status == 401 and not answer.from_app
    else:
        assert [value for values in identity(kind, allowed(answer)) for value in values if value] == []
    answer = allowed(ask(proxy.port, path, SPOOFED + bearer(boss_token)))
    assert b"spoofed" not in answer.body
    # Names that many applications read as if they were ours.
    answer = ask(proxy.port, path, [("x_auth_user_id", "spoofed"), ("x-auth_roles", "spoofed")] + bearer(boss_token))
    assert b"spoofed" not in answer.body and answer.status in (200, 400), answer


def test_the_route_policy_decides(proxy, alice, token, boss, boss_token):
    allowed(ask(proxy.port, "/open/x?y=z"))
    assert ask(proxy.port, "/open", method="POST", body=b"").status == 401
    assert ask(proxy.port, "/opening").status == 401
    allowed(ask(proxy.port, "/guests"))
    allowed(ask(proxy.port, "/guests", bearer(token)), alice)
    assert ask(proxy.port, "/guests", bearer("nonsense")).status == 401
    assert ask(proxy.port, "/staff").status == 401
    answer = ask(proxy.port, "/staff/x", bearer(token))
    assert answer.status == 403 and not answer.from_app
    allowed(ask(proxy.port, "/staff/x", bearer(boss_token)), boss)
    assert ask(proxy.port, "/both", bearer(token)).status == 403
    allowed(ask(proxy.port, "/both", bearer(boss_token)), boss)


def test_the_route_policy_knows_the_host(proxy, alice):
    narrow, wide = (
        alice.login(audience=["internal"]).access_token,
        alice.login(audience=["internal", "billing"]).access_token,
    )
    for host in ("billing.example.com", "Billing.Example.COM:8443"):
        answer = ask(proxy.port, "/", bearer(narrow), host=host)
        assert answer.status == 403 and not answer.from_app, answer
        allowed(ask(proxy.port, "/", bearer(wide), host=host), alice)
    allowed(ask(proxy.port, "/", bearer(narrow), host="shop.example.com"), alice)


def test_what_a_client_says_of_the_request_counts_for_nothing(proxy):
    lies = [
        (f"{prefix}-{name}", value)
        for prefix in ("X-Original", "X-Forwarded")
        for name, value in (("Method", "GET"), ("Uri", "/open"), ("URI", "/open"), ("URL", "/open"), ("Host", "x"))
    ]
    assert ask(proxy.port, "/orders", lies).status == 401
    assert (
        ask(proxy.port, "/staff", lies + [("x-envoy-original-path", "/open"), ("x-rewrite-url", "/open")]).status == 401
    )


def test_no_spelling_of_a_path_gets_past_the_route_policy(proxy, token):
    for path in [
        "/open/../staff",
        "/open/%2e%2e/staff",
        "/open/..%2fstaff",
        "/open//../staff",
        "/open/./../staff",
        "/open/.;/../staff",
        "/open/%5c../staff",
        "/open\\..\\staff",
        "//open/../staff",
        "/open/../../staff",
        "/%73taff",
        "/open/%252e%252e/staff",
        "/public/../staff",
        "/public/%2e%2e/staff",
        "/login/../staff",
        "/session/../staff",
        "/.well-known/../staff",
        "/.well-known/%2e%2e/staff",
        # What a proxy takes for open may be something else for the application.
        "/staff/../public/x",
        "/staff/%2e%2e/public/x",
        "/staff/..%2fpublic/x",
        "/staff//../../public/x",
        "/staff/..;/public/x",
        "/public/..%2fstaff",
        "/public/%2e%2e%2fstaff",
        "/public/..%5cstaff",
        "/public/..;/staff",
        "/public/.%2e/staff",
    ]:
        answer = ask(proxy.port, path)
        if answer.from_app:
            # It may have been open under the name that the application got, and under that alone.
            got = json.loads(answer.body)["path"]
            assert got.startswith(("/open/", "/public/")) and ".." not in got and "%" not in got, (path, got)
        answer = ask(proxy.port, path, bearer(token))
        if answer.from_app:
            # A reader, who may not go there either. Where the proxy has cleaned the path up, that counts.
            got = json.loads(answer.body)["path"]
            assert not got.startswith("/staff") and ".." not in got and "%" not in got, (path, got)


def test_the_host_in_the_line_of_a_request_is_the_host(proxy, alice, token):
    """A target may name a host of its own (RFC 9112 section 3.2.2), and a request may name two."""
    narrow = alice.login(audience=["internal"]).access_token
    assert not ask(proxy.port, f"http://127.0.0.1:{proxy.port}/staff", bearer(token)).from_app
    assert not ask(proxy.port, "http://127.0.0.1/open/../staff", bearer(token)).from_app
    assert not ask(proxy.port, "http://billing.example.com/", bearer(narrow), host="shop.example.com").from_app
    # The line counts, and what it says has to be what the application is told.
    answer = ask(proxy.port, "http://shop.example.com/", bearer(narrow), host="billing.example.com")
    assert not answer.from_app or answer.seen("host") == ["shop.example.com"], answer.seen("host")
    for hosts in (["shop.example.com", "billing.example.com"], ["billing.example.com", "shop.example.com"]):
        answer = ask(proxy.port, "/", [("host", hosts[1])] + bearer(narrow), host=hosts[0])
        assert not answer.from_app, (hosts, answer)


def test_a_session_is_renewed_on_the_way(kind, proxy, job, alice, client):
    tokens = alice.login()
    answer = allowed(ask(proxy.port, "/", cookies(basket=1, refresh=tokens.refresh_token, other=2)), alice)
    assert sorted(cookie for cookie in answer.all("set-cookie") if cookie in COOKIES) == sorted(COOKIES)
    # One cookie is all that some proxies pass on.
    [(name, (value, attributes))] = answer.cookies().items()
    assert name == REFRESH and value.count("~") == 1
    for part in value.split("~"):
        job.seen.add(part)
    assert {"path=/", "secure", "httponly"} <= {flag.strip().lower() for flag in attributes.split(";")}
    again = allowed(ask(proxy.port, "/", cookies(basket=1, refresh=value, other=2)), alice)
    assert again.cookies() == {}
    if kind != "http_service":
        # Envoy cannot take a cookie out by HTTP.
        for cookie in answer.seen("cookie") + again.seen("cookie"):
            assert "csr_" not in cookie and "basket=1" in cookie and "other=2" in cookie
    assert client.call("Verify", access_token=value.partition("~")[2]).principal.user_id == alice.id


def test_a_session_is_renewed_with_a_denial_too(proxy, job, alice):
    """The token that came is spent: without its successor the browser would lose its session by a forbidden page."""
    tokens = alice.login()
    answer = ask(proxy.port, "/staff", cookies(refresh=tokens.refresh_token))
    assert answer.status == 403 and not answer.from_app, answer
    [(name, (value, _))] = answer.cookies().items()
    for part in value.split("~"):
        job.seen.add(part)
    assert name == REFRESH and value.count("~") == 1
    allowed(ask(proxy.port, "/", cookies(refresh=value)), alice)


def test_a_stolen_refresh_token_ends_the_session_and_its_cookie(proxy, alice, client):
    first = alice.login()
    second = client.call("Refresh", refresh_token=first.refresh_token).tokens
    client.call("Refresh", refresh_token=second.refresh_token)
    answer = ask(proxy.port, "/", cookies(refresh=first.refresh_token))
    assert answer.status == 401 and "REFRESH_TOKEN_REUSED" in answer.get("www-authenticate"), answer
    assert REFRESH in answer.cookies(), answer
    for value, attributes in answer.cookies().values():
        assert value == "" and "max-age=0" in attributes.lower()


def test_a_navigation_goes_to_the_login_page_and_a_call_of_a_script_does_not(proxy, token):
    answer = ask(proxy.port, "/orders/7?a=b&c=d", NAVIGATION)
    assert not answer.from_app and answer.status in (302, 401), answer
    path, _, query = answer.get("location").partition("?")
    assert path == "/login" and urllib.parse.parse_qs(query) == {"return_to": ["/orders/7?a=b&c=d"]}, answer
    answer = ask(proxy.port, "/orders/7", [("sec-fetch-mode", "cors")])
    assert answer.status == 401 and answer.get("location") is None, answer
    answer = ask(proxy.port, "/staff", NAVIGATION + bearer(token))
    assert answer.status == 403 and answer.get("location") is None, answer
    # It is there, and asks for nothing.
    assert ask(proxy.port, "/login?return_to=%2Forders").status == 200


def test_a_websocket_opens_with_a_cookie_and_not_without(proxy, alice, token):
    url = f"ws://127.0.0.1:{proxy.port}/socket"
    with connect(url, additional_headers=cookies(access=token) + SPOOFED, proxy=None, open_timeout=20) as opened:
        assert opened.recv(timeout=20) == alice.id
        opened.send("hello")
        assert opened.recv(timeout=20) == "hello"
    with pytest.raises(InvalidStatus) as caught:
        connect(url, proxy=None, open_timeout=20)
    assert caught.value.response.status_code == 401


def test_an_outage_of_the_database_is_no_denial(kind, start, dev, by_name, alice, token):
    """A session can not be renewed then. Access tokens are good for a while."""
    tokens = alice.login()
    proxy = start(KINDS[kind], by_name("token"))
    with dev.frozen_database():
        allowed(ask(proxy.port, "/orders", bearer(token)), alice)
        answer = ask(proxy.port, "/orders", cookies(refresh=tokens.refresh_token))
        assert answer.status == 503 and not answer.from_app and answer.cookies() == {}, answer
        # Envoy makes its own answer of an outage.
        assert kind == "http_service" or int(answer.get("retry-after")) >= 1, answer
    allowed(ask(proxy.port, "/orders", cookies(refresh=tokens.refresh_token)), alice)


def test_a_script_of_haproxy_that_fails_lets_nobody_in(start, by_name, token):
    haproxy = start(Haproxy, by_name("x-original"), ("setenv FORWARD_AUTH", "setenv SOMETHING_ELSE"))
    for headers in ([], bearer(token)):
        answer = ask(haproxy.port, "/orders", headers)
        assert answer.status == 503 and not answer.from_app, answer
    assert "runtime error" in haproxy.log.read_text()


def test_the_access_log_of_nginx_says_whose_a_request_was(start, by_name, alice, token):
    nginx = start(Nginx, by_name("x-original"))
    allowed(ask(nginx.port, "/named-in-the-log?secret=1", bearer(token)), alice)
    wait_until("the log", lambda: f"GET /named-in-the-log 200 user={alice.id} " in nginx.log.read_text(), 20)
    assert "secret" not in nginx.log.read_text()


def test_nginx_with_grpc(start, by_name, alice, token, boss_token):
    nginx = start(Nginx, by_name("x-original"))

    def call(headers):
        with grpc.insecure_channel(f"127.0.0.1:{nginx.more_port}", options=OPTIONS) as channel:
            return json.loads(channel.unary_unary("/mesh.Echo/Say")(b"", timeout=20, metadata=headers))

    seen = call(bearer(token) + SPOOFED)
    assert [value for name, value in seen if name == "x-auth-user-id"] == [alice.id]
    assert not any(value == "spoofed" for _, value in seen)
    for headers in ([], bearer("nonsense")):
        with pytest.raises(grpc.RpcError) as caught:
            call(headers)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_route_policy_decides_for_envoy_by_grpc(start, by_name, token, boss, boss_token):
    envoy = start(Envoy, by_name("path"))
    for headers in ([], bearer(token)):
        allowed(ask(envoy.port, "/open", headers))
        allowed(ask(envoy.port, "/guests", headers))
        denied(
            ask(envoy.port, "/open", headers, method="POST", body=b""), 401, "TOKEN_MISSING"
        ) if not headers else None
    denied(ask(envoy.port, "/staff", bearer(token)), 403, "ROLE_MISSING")
    allowed(ask(envoy.port, "/staff", bearer(boss_token)), boss)
    denied(ask(envoy.port, "/both", bearer(token)), 403, "ROLE_MISSING")
    # What Envoy says and what the file says hold together.
    denied(ask(envoy.port, "/admin", bearer(token)), 403, "ROLE_MISSING")
    for path in ("/open/;x", "/open/%5cx", "/open/%2e%2e%2fstaff"):
        answer = ask(envoy.port, path)
        assert answer.status in (400, 403) and not answer.from_app, (path, answer)


def test_without_the_setting_there_is_no_forward_auth(dev, token):
    port = port_of(dev.facts["http_addr"])
    assert ask(port, "/forward-auth", bearer(token)).status == 404
    assert ask(port, "/forward-auth/orders", bearer(token)).status == 404


def test_the_endpoint_takes_any_method_and_any_path_below_it(by_name, alice, token):
    port = port_of(by_name("path").facts["http_addr"])
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"):
        for path in ("/forward-auth", "/forward-auth/orders/7?full=1"):
            answer = ask(port, path, bearer(token), method=method, body=b"x" * 1000)
            assert answer.status == 200 and answer.body == b"", (method, path, answer)
            assert answer.get("content-length") == "0" and answer.get("x-auth-user-id") == alice.id
            assert all(answer.get(name) is not None for name in IDENTITY), answer
            assert "no-store" in answer.get("cache-control")
            assert ask(port, path, method=method).status == 401
    assert ask(port, "/forward-authentic", bearer(token)).status == 404


def test_forward_auth_may_have_a_port_of_its_own(job, dev, token):
    port = free_port()
    server = job.serve("ported", dev, "--forward-auth", "token", "--forward-auth-addr", f"127.0.0.1:{port}")
    assert ask(port_of(server.facts["http_addr"]), "/forward-auth", bearer(token)).status == 404
    assert ask(port, "/forward-auth", bearer(token)).status == 200
    assert ask(port, "/.well-known/jwks.json").status == 404


def test_a_browser_is_logged_in_and_out_at_the_login_page(proxy, job, alice):
    browser = Browser(job.seen, proxy.port)
    there = browser.ask("/orders?full=1", NAVIGATION).get("location")
    page = browser.ask(there, NAVIGATION)
    assert page.status == 200
    fields = {"username": alice.name, "password": alice.password, **hidden_fields(page)}
    answer = browser.post("/login", fields)
    assert answer.status == 303 and answer.get("location") == "/orders?full=1", answer
    allowed(browser.ask("/orders?full=1", NAVIGATION), alice)
    answer = browser.post("/logout", {})
    assert answer.status == 303 and browser.tokens() == {}, answer
    assert browser.ask("/orders").status == 401


def test_one_cookie_is_enough_for_nginx_across_expiries(start, hasty, job, alice):
    nginx = start(Nginx, hasty)
    tokens = alice.login(at=hasty.client)
    browser = Browser(job.seen, nginx.port, access=tokens.access_token, refresh=tokens.refresh_token)

    def renewed():
        before = browser.held[REFRESH]
        allowed(browser.ask("/orders"), alice)
        return browser.held[REFRESH] != before

    for expiry in ("the first", "the second"):
        wait_until(f"{expiry} expiry of the access token", renewed, 30)
        assert browser.held[REFRESH].count("~") == 1
