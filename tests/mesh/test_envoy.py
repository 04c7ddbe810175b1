"""Envoy asks by gRPC (deploy/envoy/envoy.yaml): who gets in, whose the request is, and what the answers look like."""

import json
import urllib.parse

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from actors import User
from asked import ACCESS, IDENTITY, NAVIGATION, REFRESH, SPOOFED, allowed, ask, bearer, cookies, denied
from app import COOKIES
from processes import wait_until
from proxies import Envoy

OPTIONS = [("grpc.enable_retries", 0)]
FILTER = "              transport_api_version: V3\n"


@pytest.fixture(scope="session")
def raw_envoy(start, dev):
    return start(Envoy, dev, (FILTER, FILTER + "              encode_raw_headers: true\n"))


@pytest.fixture(params=["headers", "raw headers"])
def either(request, envoy):
    """Envoy sends the headers of a request as a map, or as a list of bytes."""
    return envoy if request.param == "headers" else request.getfixturevalue("raw_envoy")


def broken_signature(token):
    start, signature = token.rsplit(".", 1)
    return f"{start}.{signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}"


def test_a_token_lets_in_and_says_whose_the_request_is(either, alice, client):
    tokens = alice.login(audience=["internal"])
    session = client.call("Verify", access_token=tokens.access_token).principal.session_id
    for headers in (bearer(tokens.access_token), [("Authorization", f"bearer {tokens.access_token}")]):
        answer = allowed(ask(either.port, "/orders?full=1", headers))
        seen = [answer.seen(name) for name in IDENTITY]
        assert seen == [[alice.id], [session], ["reader"], ["internal"], [""]] or seen[4] == [alice.name], seen
        assert json.loads(answer.body)["path"] == "/orders?full=1"
        assert answer.all("set-cookie") == COOKIES


def test_a_user_name_is_passed_on_where_tokens_say_it(envoy, alice, token):
    assert allowed(ask(envoy.port, "/", bearer(token))).seen("x-auth-username") == [urllib.parse.quote(alice.name)]


def test_a_user_name_of_other_letters_is_percent_encoded(envoy, client):
    jose = User(client, "josé")
    seen = allowed(ask(envoy.port, "/", bearer(jose.login().access_token)), jose).seen("x-auth-username")
    assert [urllib.parse.unquote(name) for name in seen] == [jose.name] and seen[0].isascii()


def test_cookies_let_in(either, alice):
    tokens = alice.login()
    allowed(ask(either.port, "/", cookies(basket=1, access=tokens.access_token, other=2)), alice)
    # The header counts, whatever a cookie says.
    denied(ask(either.port, "/", bearer("nonsense") + cookies(access=tokens.access_token)), 401, "TOKEN_MALFORMED")


def test_each_bad_token_is_refused_with_its_reason(either, alice, client, token):
    ended = alice.login()
    client.call("Revoke", refresh_token=ended.refresh_token)
    denied(ask(either.port, "/"), 401, "TOKEN_MISSING")
    for headers, reason in [
        (bearer("nonsense"), "TOKEN_MALFORMED"),
        (bearer(""), None),
        ([("authorization", "Basic YWxpY2U6eA==")], None),
        ([("authorization", token)], None),
        (bearer(f"{token} {token}"), None),
        (bearer(f"{token},{token}"), None),
        (bearer(f"{token}, Bearer {token}"), None),
        (bearer(token) + bearer(token), None),
        (bearer(broken_signature(token)), "TOKEN_SIGNATURE_INVALID"),
        (bearer(ended.access_token), "TOKEN_REVOKED"),
        (cookies(access=broken_signature(token)), "TOKEN_SIGNATURE_INVALID"),
        (cookies(refresh="csr_nonsense"), None),
        ([("cookie", f"{ACCESS}={token}; {ACCESS}={token}")], None),
        ([("cookie", f"{ACCESS}={token}"), ("cookie", f"{ACCESS}={token}")], None),
    ]:
        answer = ask(either.port, "/", headers)
        assert answer.status == 401 and not answer.from_app, (headers, answer)
        denied(answer, 401, reason or json.loads(answer.body)["error"])
        # Nobody is told to forget a session because of a bad access token.
        assert answer.all("set-cookie") == [], (headers, answer)


@pytest.mark.parametrize("path", ["/", "/public/x", "/catalogue", "/admin", "/billing"])
def test_nobody_says_who_he_is(either, alice, boss_token, path):
    answer = ask(either.port, path, SPOOFED + [("X-AUTH-ROLES", "admin")])
    assert "spoofed" not in repr(answer)
    if path == "/public/x":
        assert [allowed(answer).seen(name) for name in IDENTITY] == [[]] * 5
    elif path == "/catalogue":
        assert [allowed(answer).seen(name) for name in IDENTITY] == [[""]] * 5
    else:
        denied(answer, 401, "TOKEN_MISSING")
    answer = allowed(ask(either.port, path, SPOOFED + bearer(boss_token)))
    assert b"spoofed" not in answer.body
    assert ask(either.port, path, [("x_auth_user_id", "spoofed")] + bearer(boss_token)).status == 400


def test_roles_and_audiences_are_those_of_the_route(either, alice, boss):
    reader, staff = (
        alice.login(audience=["internal"]).access_token,
        boss.login(audience=["internal", "billing"]).access_token,
    )
    denied(ask(either.port, "/admin/users", bearer(reader)), 403, "ROLE_MISSING")
    allowed(ask(either.port, "/admin/users", bearer(staff)), boss)
    denied(ask(either.port, "/billing", bearer(reader)), 403, "TOKEN_AUDIENCE_MISMATCH")
    allowed(ask(either.port, "/billing", bearer(staff)), boss)
    # Neither another spelling of the path.
    for path in ("/x/../admin/users", "/%61dmin/users", "//admin/users", "/./admin", "/admin%2fusers"):
        assert not ask(either.port, path, bearer(reader)).from_app, path


def test_guests_are_let_in_where_they_may_be_and_bad_tokens_are_not(either, alice, token):
    assert [allowed(ask(either.port, "/catalogue")).seen(name) for name in IDENTITY] == [[""]] * 5
    allowed(ask(either.port, "/catalogue", bearer(token)), alice)
    denied(ask(either.port, "/catalogue", bearer(broken_signature(token))), 401, "TOKEN_SIGNATURE_INVALID")


def test_a_misspelt_demand_lets_nobody_in(start, dev, boss_token):
    envoy = start(Envoy, dev, ("roles_any:", "role_any:"), ('optional: "true"', 'optional: "yes"'))
    denied(ask(envoy.port, "/admin", bearer(boss_token)), 403, "ROUTE_MISCONFIGURED")
    denied(ask(envoy.port, "/catalogue", bearer(boss_token)), 403, "ROUTE_MISCONFIGURED")
    assert "role_any" in dev.err.read_text()


def test_a_session_is_renewed_on_the_way(either, job, alice, client):
    tokens = alice.login()
    # Its access token is lost, as when it has expired.
    answer = allowed(ask(either.port, "/", cookies(basket=1, refresh=tokens.refresh_token, other=2)), alice)
    assert [cookie for cookie in answer.all("set-cookie") if cookie in COOKIES] == COOKIES
    given = answer.cookies()
    assert set(given) == {ACCESS, REFRESH}
    for value, attributes in given.values():
        job.seen.add(value)
        flags = {flag.strip().lower() for flag in attributes.split(";")}
        assert {"path=/", "secure", "httponly"} <= flags and any(flag.startswith("samesite=") for flag in flags)
        assert not any(flag.startswith("domain=") for flag in flags)
    # The application gets everything but the refresh token.
    [cookie] = answer.seen("cookie")
    assert "csr_" not in cookie and "basket=1" in cookie and "other=2" in cookie
    allowed(ask(either.port, "/", cookies(access=given[ACCESS][0])), alice)
    assert client.call("Verify", access_token=given[ACCESS][0]).principal.user_id == alice.id
    # Not again while it is valid.
    again = allowed(ask(either.port, "/", cookies(access=given[ACCESS][0], refresh=given[REFRESH][0])), alice)
    assert again.cookies() == {}
    assert all("csr_" not in cookie for cookie in again.seen("cookie"))


def test_a_session_is_renewed_with_a_denial_too(either, job, alice):
    """The token that came is spent: without its successor the browser would lose its session by a forbidden page."""
    tokens = alice.login()
    answer = denied(ask(either.port, "/admin", cookies(refresh=tokens.refresh_token)), 403, "ROLE_MISSING")
    given = {name: value for name, (value, _) in answer.cookies().items()}
    for value in given.values():
        job.seen.add(value)
    assert set(given) == {ACCESS, REFRESH}
    allowed(ask(either.port, "/", cookies(access=given[ACCESS], refresh=given[REFRESH])), alice)


def test_a_stolen_refresh_token_ends_the_session_and_both_cookies(envoy, alice, client):
    first = alice.login()
    second = client.call("Refresh", refresh_token=first.refresh_token).tokens
    client.call("Refresh", refresh_token=second.refresh_token)
    answer = denied(ask(envoy.port, "/", cookies(refresh=first.refresh_token)), 401, "REFRESH_TOKEN_REUSED")
    assert set(answer.cookies()) == {ACCESS, REFRESH}
    for value, attributes in answer.cookies().values():
        assert value == "" and "max-age=0" in attributes.lower()


def test_a_navigation_goes_to_the_login_page_and_a_call_of_a_script_does_not(envoy, token):
    answer = ask(envoy.port, "/orders/7?a=b&c=d", NAVIGATION)
    assert (answer.status, answer.from_app) == (302, False)
    path, _, query = answer.get("location").partition("?")
    assert path == "/login" and urllib.parse.parse_qs(query) == {"return_to": ["/orders/7?a=b&c=d"]}
    denied(ask(envoy.port, "/orders/7", [("sec-fetch-mode", "cors")]), 401, "TOKEN_MISSING")
    denied(ask(envoy.port, "/orders/7", NAVIGATION, method="POST"), 401, "TOKEN_MISSING")
    # Who is logged in but may not go there is not asked to log in again.
    assert ask(envoy.port, "/admin", NAVIGATION + bearer(token)).status == 403


def call(envoy, method, metadata=()):
    with grpc.insecure_channel(f"127.0.0.1:{envoy.port}", options=OPTIONS) as channel:
        return json.loads(channel.unary_unary(method)(b"", timeout=20, metadata=metadata))


def refused(envoy, method, metadata=()):
    """The code and the reason with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(envoy, method, metadata)
    error = caught.value
    status = rpc_status.from_call(error)
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details) and info.domain == "countersign", status
    return error.code().name, info.reason


def test_grpc_calls_are_let_in_and_refused_with_our_reasons(either, alice, token):
    seen = call(either, "/mesh.Echo/Say", bearer(token) + SPOOFED)
    assert [value for name, value in seen if name == "x-auth-user-id"] == [alice.id]
    assert not any(value == "spoofed" for _, value in seen)
    assert refused(either, "/mesh.Echo/Say") == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert refused(either, "/mesh.Echo/Say", SPOOFED) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert refused(either, "/mesh.Echo/Say", bearer("nonsense")) == ("UNAUTHENTICATED", "TOKEN_MALFORMED")
    assert refused(either, "/admin/Say", bearer(token)) == ("PERMISSION_DENIED", "ROLE_MISSING")


def test_the_access_log_says_whose_a_request_was(envoy, boss, boss_token):
    allowed(ask(envoy.port, "/named-in-the-log?secret=1", bearer(boss_token)))

    def line():
        lines = [line for line in envoy.log.read_text().splitlines() if "/named-in-the-log" in line]
        return lines and json.loads(lines[0])

    said = wait_until("the access log", line, 20)
    assert said["user"] == boss.id and sorted(said["roles"]) == ["auditor", "staff"], said
    assert said["request"] == "GET /named-in-the-log" and said["status"] == 200


def socket(envoy, headers, path="/socket"):
    return connect(f"ws://127.0.0.1:{envoy.port}{path}", additional_headers=headers, proxy=None, open_timeout=20)


def test_a_websocket_opens_with_a_cookie_and_not_without(either, alice, token):
    with socket(either, cookies(access=token) + SPOOFED) as opened:
        assert opened.recv(timeout=20) == alice.id
        opened.send("hello")
        assert opened.recv(timeout=20) == "hello"
    for headers in ([], cookies(access="nonsense")):
        with pytest.raises(InvalidStatus) as caught:
            socket(either, headers)
        assert caught.value.response.status_code == 401


def test_tokens_in_the_query_and_their_removal(job, dev, start, alice, token):
    settings = ["--token-query-parameter", "access_token", "--remove-token", "--auth-header-prefix", "x-user-"]
    other = job.serve("other", dev, "--audience", "internal,billing", *settings)
    envoy = start(Envoy, other, ("x-auth-", "x-user-"))
    with socket(envoy, [], f"/socket?access_token={token}&a=b"):
        pass
    answer = allowed(ask(envoy.port, f"/orders?a=b&access_token={token}&c=d"))
    assert answer.seen("x-user-user-id") == [alice.id]
    assert token not in answer.body.decode()
    denied(ask(envoy.port, f"/?access_token={token}&access_token={token}"), 401)
    for headers in (bearer(token), cookies(access=token, basket=1)):
        answer = allowed(ask(envoy.port, "/", headers))
        assert answer.seen("x-user-user-id") == [alice.id] and token not in answer.body.decode(), answer


def test_a_query_says_nothing_where_it_was_not_asked_to(envoy, token):
    denied(ask(envoy.port, f"/?access_token={token}"), 401, "TOKEN_MISSING")
