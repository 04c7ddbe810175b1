"""The status page in a real browser: whole, readable on a narrow screen, and with nothing from elsewhere."""

import os
from pathlib import Path

import pytest

from actors import User
from chromium import Chromium
from processes import wait_until


@pytest.fixture
def browser(job):
    browser = Chromium(job.dir)
    yield browser
    browser.end()


def test_the_page_has_all_rooms_and_comes_anew(browser, dev, client):
    user = User(client, "status-page", roles=["reader"])
    for _ in range(3):
        user.login()
    browser.go(f"http://{dev.facts['http_addr']}/status")
    assert browser.script("return document.title") == "Countersign: status"
    headings = browser.script("return [...document.querySelectorAll('h2')].map(it => it.textContent)")
    for room in "Calls", "Revocations", "Logins, per second", "Tokens, per second", "Database", "Newest events":
        assert room in headings, headings
    wait_until("the browser asks again, and sees the logins", lambda: "Login" in browser.text(), 30)
    assert browser.script("return performance.getEntriesByType('resource').length") == 0, "no asset"
    # The style is its own: the policy lets it pass, and nothing else.
    assert browser.script("return getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
    assert browser.script("return document.scripts.length") == 0
    if file := os.environ.get("COUNTERSIGN_STATUS_SCREENSHOT"):
        browser.screenshot(Path(file))
