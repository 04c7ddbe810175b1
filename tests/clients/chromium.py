"""A headless Chromium, driven by the W3C WebDriver protocol that its chromedriver speaks."""

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request

from processes import environment, free_port, wait_until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
STARTS_WITHIN = 60


class Chromium:
    def __init__(self, directory, language="en-US"):
        port = free_port()
        self.driver = f"http://127.0.0.1:{port}"
        home = directory / f"chromium-{port}"
        home.mkdir()
        with open(home / "log", "wb") as log:
            command = [shutil.which("chromedriver"), f"--port={port}"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(HOME=str(home)))
        wait_until("chromedriver is ready", self.is_ready, STARTS_WITHIN)
        # As root it has no sandbox; in a container /dev/shm is small.
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--disable-lcd-text"]
        arguments.append("--window-size=800,600")
        options = {
            "args": [*arguments, f"--user-data-dir={home}/profile", f"--lang={language}"],
            "binary": shutil.which("chromium"),
            "prefs": {"intl.accept_languages": language},
        }
        # A click does not wait for the page that it leads to, so a look at that page does.
        waits = {"implicit": 10_000}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": waits}}}
        self.session = self.call("POST", "/session", wanted)["sessionId"]

    def is_ready(self):
        try:
            return self.call("GET", "/status")["ready"]
        except urllib.error.URLError:
            return False

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.driver + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {json.load(error)['value']['message']}") from None

    def ask(self, method, path, body=None):
        return self.call(method, f"/session/{self.session}{path}", body)

    def resize(self, width, height):
        """The size of the window."""
        self.ask("POST", "/window/rect", {"width": width, "height": height})

    def go(self, url):
        self.ask("POST", "/url", {"url": url})

    def url(self):
        return self.ask("GET", "/url")

    def arrives(self, url):
        """Waits until a click has led there."""
        wait_until(f"the browser is at {url}", lambda: self.url() == url, 30)

    def find(self, css):
        return self.ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def text(self, css="body"):
        return self.ask("GET", f"/element/{self.find(css)}/text")

    def attribute(self, css, name):
        return self.ask("GET", f"/element/{self.find(css)}/property/{name}")

    def type(self, css, text):
        self.ask("POST", f"/element/{self.find(css)}/clear", {})
        self.ask("POST", f"/element/{self.find(css)}/value", {"text": text})

    def click(self, css):
        self.ask("POST", f"/element/{self.find(css)}/click", {})

    def active(self):
        """The id of the element that has the focus."""
        return self.ask("GET", f"/element/{self.ask('GET', '/element/active')[ELEMENT]}/property/id")

    def cookies(self):
        return {cookie["name"]: cookie for cookie in self.ask("GET", "/cookie")}

    def script(self, source):
        return self.ask("POST", "/execute/sync", {"script": source, "args": []})

    def fetched(self, path, method="GET"):
        """The status that a script of the page gets."""
        source = f"const done = arguments[0]; fetch('{path}', {{method: '{method}'}}).then(a => done(a.status), e => done(`${{e}}`))"
        return self.ask("POST", "/execute/async", {"script": source, "args": []})

    def screenshot(self, file):
        file.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def end(self):
        try:
            self.ask("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait(30)
