"""A real browser behind Envoy: the login page, a session that goes on by itself, and its end everywhere."""

import json
import os
import time
from pathlib import Path

import pytest

from actors import User
from asked import ACCESS, REFRESH
from chromium import Chromium
from processes import wait_until
from proxies import Envoy, Nginx

DEVICE = "__Host-countersign-device"


@pytest.fixture
def browser(job):
    browser = Chromium(job.dir)
    yield browser
    for cookie in browser.cookies().values():
        job.seen.add(cookie["value"])
    browser.end()


@pytest.fixture(scope="module")
def alice(client):
    """Not the one of the other tests, whose tokens stay valid: here all sessions of the user are ended."""
    return User(client, "alice", roles=["reader"])


@pytest.fixture(scope="module")
def envoy_of_hasty(start, hasty):
    return start(Envoy, hasty)


def at(proxy, path=""):
    # A name that browsers trust without TLS, so that they keep cookies that are Secure.
    return f"http://localhost:{proxy.port}{path}"


def shown(browser):
    """What the application has been told of the request for the page that is shown."""
    return dict(json.loads(browser.text("pre"))["headers"])


def log_in(browser, user, password=None):
    browser.type("#username", user.name)
    browser.type("#password", password or user.password)
    browser.click("button")


def test_a_session_from_the_login_page_to_its_end(browser, envoy_of_hasty, hasty, alice, client, job):
    # Who is not logged in is led to the page, and from there to where he wanted to go.
    browser.go(at(envoy_of_hasty, "/orders?page=2&sort=a%2Fb"))
    assert browser.url().startswith(at(envoy_of_hasty, "/login?return_to="))
    wait_until("it has the focus", lambda: browser.active() == "username", 10)
    log_in(browser, alice, "not the password")
    assert browser.text("[role=alert]") == "The username or the password is wrong."
    assert (browser.attribute("#username", "value"), browser.attribute("#password", "value")) == (alice.name, "")
    wait_until("it has the focus", lambda: browser.active() == "password", 10)
    log_in(browser, alice)
    browser.arrives(at(envoy_of_hasty, "/orders?page=2&sort=a%2Fb"))
    assert shown(browser)["x-auth-user-id"] == alice.id
    assert REFRESH not in shown(browser)["cookie"] and ACCESS in shown(browser)["cookie"]
    cookies = browser.cookies()
    for name in (ACCESS, REFRESH, DEVICE):
        cookie = cookies[name]
        kept = (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"])
        assert kept == (True, True, "Lax", "/"), cookie
        job.seen.add(cookie["value"])
    assert browser.script("return document.cookie") == "basket=17; theme=dark"
    assert browser.fetched("/session") == 200

    # It walks on for longer than an access token lives, and notices nothing.
    begun = time.monotonic()
    tokens = {cookies[REFRESH]["value"]}
    while len(tokens) < 3:
        browser.go(at(envoy_of_hasty, f"/orders/{len(tokens)}"))
        assert browser.url() == at(envoy_of_hasty, f"/orders/{len(tokens)}")
        assert shown(browser)["x-auth-user-id"] == alice.id
        assert browser.fetched("/basket", "POST") == 200
        tokens.add(browser.cookies()[REFRESH]["value"])
        assert time.monotonic() - begun < 120
    for token in tokens:
        job.seen.add(token)
    assert time.monotonic() - begun > 10, "as long as an access token lives"

    # One Revoke ends it in every tab, and the next page is the login page.
    client.call("Revoke", user_id=alice.id)
    assert browser.fetched("/orders") == 401
    browser.go(at(envoy_of_hasty, "/orders/last"))
    assert browser.url() == at(envoy_of_hasty, "/login?return_to=/orders/last")
    assert browser.text("h1") == "Log in"


def test_the_page_logs_out_without_a_script(browser, envoy_of_hasty, alice):
    browser.go(at(envoy_of_hasty, "/login"))
    log_in(browser, alice)
    browser.arrives(at(envoy_of_hasty, "/"))
    browser.go(at(envoy_of_hasty, "/login"))
    assert "You are logged in." in browser.text()
    browser.click("button")
    browser.arrives(at(envoy_of_hasty, "/login?logged_out"))
    assert browser.text("[role=alert]") == "You are logged out."
    assert ACCESS not in browser.cookies() and REFRESH not in browser.cookies()
    browser.go(at(envoy_of_hasty, "/orders"))
    assert browser.url() == at(envoy_of_hasty, "/login?return_to=/orders")


def test_the_page_is_korean_for_who_reads_korean_and_has_its_style(job, envoy_of_hasty):
    browser = Chromium(job.dir, "ko-KR")
    try:
        browser.go(at(envoy_of_hasty, "/orders"))
        assert (browser.text("h1"), browser.attribute("html", "lang")) == ("로그인", "ko")
        assert browser.text("label[for=password]") == "비밀번호"
        # The policy of the page lets its own style in, and nothing else.
        style = "return getComputedStyle(document.querySelector('button')).backgroundColor"
        assert browser.script(style) == "rgb(26, 95, 180)"
        inline = "const s = document.createElement('style'); s.textContent = 'h1 { color: rgb(1, 2, 3) }'; "
        color = "document.head.append(s); return getComputedStyle(document.querySelector('h1')).color"
        assert browser.script(inline + color) != "rgb(1, 2, 3)"
    finally:
        browser.end()


def test_behind_nginx_one_cookie_is_enough(browser, start, hasty, alice, job):
    nginx = start(Nginx, hasty)
    browser.go(at(nginx, "/orders"))
    assert browser.url().startswith(at(nginx, "/login?return_to=")), browser.url()
    log_in(browser, alice)
    browser.arrives(at(nginx, "/orders"))
    tokens = {browser.cookies()[REFRESH]["value"]}

    def walked():
        browser.go(at(nginx, f"/orders/{len(tokens)}"))
        assert shown(browser)["X-Auth-User-Id"] == alice.id
        tokens.add(browser.cookies()[REFRESH]["value"])
        return len(tokens) == 4

    wait_until("it goes on three times", walked, 120)
    for token in tokens:
        job.seen.add(token)


@pytest.mark.skipif("COUNTERSIGN_SCREENSHOT" not in os.environ, reason="says where the picture of the page goes")
def test_a_picture_of_the_page(browser, envoy_of_hasty):
    browser.go(at(envoy_of_hasty, "/orders"))
    browser.screenshot(Path(os.environ["COUNTERSIGN_SCREENSHOT"]))
