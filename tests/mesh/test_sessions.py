"""Sessions of browsers: many requests at once over an access token that has expired, and what pages call."""

import asyncio
import json
from urllib.parse import quote

import pytest

from asked import ACCESS, REFRESH, Browser, allowed, ask, cookies
from processes import wait_until
from proxies import Envoy, port_of

AT_ONCE = 1000


@pytest.fixture(scope="module")
def envoy_of_hasty(start, hasty):
    return start(Envoy, hasty)


async def get(port, cookie):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    status, *headers = head.split("\r\n")
    given = [line.split(": ", 1)[1] for line in headers if line.lower().startswith("set-cookie: __host-")]
    return int(status.split(" ")[1]), dict(cookie.split(";")[0].split("=", 1) for cookie in given)


async def all_at_once(port, cookie):
    return await asyncio.gather(*(get(port, cookie) for _ in range(AT_ONCE)))


def expired(server, token):
    error = server.client.start("Verify", access_token=token).exception()
    return error is not None and "accepted" in error.details()


def test_a_thousand_requests_over_an_expired_cookie_are_one_renewal(envoy_of_hasty, hasty, job, alice, client):
    tokens = alice.login(at=hasty.client)
    cookie = f"{ACCESS}={tokens.access_token}; {REFRESH}={tokens.refresh_token}"
    wait_until("it expires", lambda: expired(hasty, tokens.access_token), 30)
    answers = asyncio.run(all_at_once(envoy_of_hasty.port, cookie))
    statuses = [status for status, _ in answers]
    # Whoever could not be served in time may come again. Nobody is told that he is logged out.
    assert set(statuses) <= {200, 503} and 200 in statuses, {status: statuses.count(status) for status in set(statuses)}
    print(f"{statuses.count(200)} of {AT_ONCE} were served at once")
    renewed = {given[REFRESH] for status, given in answers if status == 200}
    assert len(renewed) == 1 and renewed != {tokens.refresh_token}, len(renewed)
    for _, given in answers:
        for value in given.values():
            job.seen.add(value)
    [successor] = renewed
    # The session lives, whichever of the answers the browser kept, and if it kept none.
    asked_again = ask(envoy_of_hasty.port, "/orders", [("cookie", cookie)])
    assert allowed(asked_again, alice).cookies()[REFRESH][0] == successor
    job.seen.add(asked_again.cookies()[ACCESS][0])
    last = [given for status, given in answers if status == 200][-1]
    allowed(ask(envoy_of_hasty.port, "/orders", cookies(access=last[ACCESS], refresh=last[REFRESH])), alice)
    allowed(ask(envoy_of_hasty.port, "/orders", cookies(refresh=successor)), alice)
    session = client.call("Verify", access_token=last[ACCESS]).principal.session_id
    assert session in alice.session_ids()


def test_scripts_of_pages_log_in_renew_and_log_out(envoy, dev, job, alice):
    browser = Browser(job.seen, envoy.port)
    origin = [("origin", f"http://127.0.0.1:{envoy.port}"), ("sec-fetch-site", "same-origin")]
    sent = origin + [("content-type", "application/json")]
    user = json.dumps({"username": alice.name, "password": alice.password}).encode()

    answer = browser.ask(
        "/session", sent, method="POST", body=json.dumps({"username": alice.name, "password": "wrong" * 5}).encode()
    )
    assert answer.status == 401 and browser.tokens() == {}, answer
    answer = browser.ask("/session", sent, method="POST", body=user)
    assert answer.status in (200, 201, 204) and set(browser.tokens()) == {ACCESS, REFRESH}, answer
    # No script gets at a token.
    assert not any(value in answer.body.decode() for value in browser.held.values())
    allowed(browser.ask("/orders"), alice)
    said = browser.ask("/session", origin)
    assert said.status == 200 and alice.id in said.body.decode(), said

    before = dict(browser.held)
    answer = browser.ask("/session/refresh", sent, method="POST", body=b"")
    assert answer.status in (200, 204) and browser.held[REFRESH] != before[REFRESH], answer
    allowed(browser.ask("/orders"), alice)

    after = dict(browser.held)
    answer = browser.ask("/session", sent, method="DELETE", body=b"")
    assert answer.status in (200, 204) and browser.tokens() == {}, answer
    sent = [("cookie", f"{ACCESS}={after[ACCESS]}; {REFRESH}={after[REFRESH]}")]
    wait_until("all know it", lambda: ask(envoy.port, "/orders", sent).status == 401, 30)
    assert ask(envoy.port, "/session").status == 401


def test_pages_of_others_start_and_end_no_session(envoy, dev, job, alice):
    tokens = alice.login()
    ours = cookies(access=tokens.access_token, refresh=tokens.refresh_token)
    user = json.dumps({"username": alice.name, "password": alice.password}).encode()
    for origin in ("https://evil.example", "null"):
        theirs = [("origin", origin), ("sec-fetch-site", "cross-site"), ("content-type", "application/json")]
        for method, path, body in (
            ("POST", "/session", user),
            ("POST", "/session/refresh", b""),
            ("DELETE", "/session", b""),
        ):
            answer = ask(envoy.port, path, theirs + ours, method=method, body=body)
            assert answer.status == 403 and answer.cookies() == {}, (origin, method, path, answer)
            assert answer.get("access-control-allow-origin") in (None, ""), answer
    allowed(ask(envoy.port, "/orders", ours), alice)


def test_a_login_returns_to_pages_of_ours_alone(envoy, job, alice):
    for there in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
    ):
        browser = Browser(job.seen, envoy.port)
        answer = browser.post("/login", {"username": alice.name, "password": alice.password, "return_to": there})
        place = answer.get("location")
        assert place is None or (place.startswith("/") and "evil" not in place), (there, answer)
        page = ask(envoy.port, f"/login?return_to={quote(there + chr(34) + '><script>', safe='')}")
        assert b"<script>" not in page.body and page.get("content-security-policy"), page


def test_without_the_setting_there_are_no_sessions_of_browsers(by_name, job, dev):
    port = port_of(job.serve("plain", dev).facts["http_addr"])
    for method, path in (
        ("GET", "/session"),
        ("POST", "/session"),
        ("GET", "/login"),
        ("POST", "/logout"),
        ("POST", "/session/refresh"),
    ):
        assert ask(port, path, method=method, body=b"" if method == "POST" else None).status == 404, (method, path)
