"""What no proxy may let pass by itself, with the files of deploy/: tunnels, and paths that applications read in another way."""

import json

import pytest

from asked import Answer, allowed, ask_for, bearer, send
from conftest import KINDS, NAMES
from proxies import Envoy, JwtAuthn

# With none of these does a path reach an application, whatever the proxy makes of it.
ODD = [";", "%3b", "%25", "%00", "%0d%0a", "%5c", "%2f", "#"]


@pytest.fixture(scope="session", params=[*KINDS, "envoy", "jwt_authn"])
def edge(request, start, dev, by_name):
    if request.param in KINDS:
        return start(KINDS[request.param], by_name(NAMES[request.param]))
    return start(JwtAuthn if request.param == "jwt_authn" else Envoy, dev)


@pytest.mark.parametrize("path", ["/public/x", "/orders", "/socket", "/login", "/.well-known/jwks.json"])
@pytest.mark.parametrize("upgrade", [["h2c"], ["H2C"], ["websocket, h2c"], ["h2c", "websocket"], ["websocket", "h2c"]])
@pytest.mark.parametrize("connection", ["Upgrade", "Upgrade, HTTP2-Settings"])
def test_nobody_tunnels(edge, token, path, upgrade, connection):
    """In a tunnel the proxy sees nothing of the requests that follow."""
    upgrades = [f"Upgrade: {value}" for value in upgrade]
    lines = ["Host: h", *upgrades, "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", f"Connection: {connection}"]
    for authorization in ([], [f"Authorization: Bearer {token}"]):
        response, wire = send(edge.port, f"GET {path} HTTP/1.1", *lines, *authorization)
        with wire:
            assert response.status != 101, response.getheaders()
            answer = Answer(response)
        if answer.from_app:
            names = {name.lower() for name, _ in json.loads(answer.body)["headers"]}
            assert not names & {"upgrade", "http2-settings"}, answer


def test_what_a_connection_names_is_not_taken_away(edge, alice, token):
    """Names of headers that were for the proxy alone. It must not drop by them what it says itself."""
    named = "close, x-auth-user-id, x-auth-roles, x-forwarded-method, x-original-uri, cookie"
    response, wire = send(
        edge.port, "GET /orders HTTP/1.1", "Host: h", f"Connection: {named}", f"Authorization: Bearer {token}"
    )
    with wire:
        allowed(Answer(response), alice)


@pytest.mark.parametrize("path", ["/public/x", "/orders"])
@pytest.mark.parametrize("mark", list("_.!#$%&'*+^|~`"))
def test_no_name_passes_that_can_be_read_as_one_of_ours(edge, token, path, mark):
    """Some applications know letters and digits alone, and make one sign of all others (RFC 3875 section 4.1.18)."""
    for name in (f"X{mark}Auth{mark}User{mark}Id", f"x-auth{mark}user-id", f"x{mark}auth-user-id", f"X-Auth-User{mark}Id"):
        answer = ask_for(edge.port, path, bearer(token) + [(name, "spoofed")])
        assert b"spoofed" not in answer.body and answer.status in (200, 400), (name, answer)


@pytest.mark.parametrize("odd", ODD)
def test_no_path_passes_that_can_be_read_in_two_ways(edge, token, odd):
    for path in (f"/public/{odd}", f"/public/x{odd}y", f"/public/x/..{odd}/admin", f"/public{odd}/x", f"/orders/{odd}x"):
        for path in {path, path.upper().replace("PUBLIC", "public").replace("ORDERS", "orders")}:
            for headers in ([], bearer(token)):
                answer = ask_for(edge.port, path, headers)
                if answer.from_app:
                    # Envoy takes /x/..;/ for /x/../ itself. Then that is what it has checked, and what the application got.
                    got = json.loads(answer.body)["path"]
                    assert "..;" in path and ".." not in got and odd not in got, (path, got)
                    assert headers or got.startswith("/public/"), (path, got)
                else:
                    assert answer.status in (400, 401, 403), (path, answer)


def test_nothing_open_leads_elsewhere(edge):
    for path in [
        "/public/..;/admin",
        "/public/%2e%2e;/admin",
        "/public/%2E%2E%3b/admin",
        "/public/..%3b/admin",
        "/public/..%253badmin",
        "/public/%252e%252e/admin",
        "/public/..\\admin",
        "/public/..\\..\\admin",
        "/public/x;..\\admin",
        "/public/..%5cadmin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..",
        "/PUBLIC/x",
        "/Public/x",
        b"/public/\xff/..;/admin",
        b"/public/x;\xff",
        b"/public/\xff/../admin",
    ]:
        answer = ask_for(edge.port, path)
        assert answer.status in (400, 401, 403) and not answer.from_app, (path, answer)


def test_paths_that_mean_one_thing_pass(edge, alice, token):
    for path in ("/public/x?next=/../%2f;a\\b%00//", "/public/a%20b", "/public/%C3%A9", "/public/.well", "/public/a..b"):
        allowed(ask_for(edge.port, path))
        allowed(ask_for(edge.port, path.replace("/public", "/orders"), bearer(token)), alice)


@pytest.mark.parametrize("kind", [Envoy, JwtAuthn])
def test_no_spelling_of_a_path_does_without_its_role(start, dev, kind, alice, boss, token, boss_token):
    """What the file of the proxy demands of /admin, and of /billing."""
    envoy = start(kind, dev)
    narrow = alice.login(audience=["internal"]).access_token
    for path in [
        "/admin",
        "/admin/x",
        "/admin;x",
        "/admin;x/y",
        "/admin%3bx",
        "/x/%2e%2e;/admin",
        "/Admin",
        "/ADMIN/x",
        "/%41dmin",
        "/admin#x",
        "/admin%00",
        b"/admin/\xff",
        b"/admin;\xff",
        "/billing;x",
        "/Billing",
    ]:
        if kind is Envoy or b"illing" not in (path if isinstance(path, bytes) else path.encode()) or ";" in path:
            answer = ask_for(envoy.port, path, bearer(narrow))
            assert answer.status in (400, 403) and not answer.from_app, (path, answer)
    allowed(ask_for(envoy.port, "/admin/x", bearer(boss_token)), boss)
    allowed(ask_for(envoy.port, "/Admin/x", bearer(boss_token)), boss)
