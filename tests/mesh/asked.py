"""What clients send through a proxy, and what they get."""

import html
import http.client
import json
import re
import socket
import urllib.parse

ACCESS, REFRESH = "__Host-countersign-access", "__Host-countersign-refresh"
IDENTITY = ["x-auth-user-id", "x-auth-session-id", "x-auth-roles", "x-auth-audience", "x-auth-username"]
SPOOFED = [(name, "spoofed") for name in IDENTITY]
NAVIGATION = [("sec-fetch-mode", "navigate"), ("accept", "text/html")]


def bearer(token):
    return [("authorization", f"Bearer {token}")]


def cookies(**values):
    """A header of cookies, by the short names of ours."""
    names = {"access": ACCESS, "refresh": REFRESH}
    return [("cookie", "; ".join(f"{names.get(name, name)}={value}" for name, value in values.items()))]


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.getheaders(), response.read()

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:400]}"

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name):
        """The value of a header that is there once at most."""
        values = self.all(name)
        assert len(values) <= 1, self
        return values[0] if values else None

    @property
    def from_app(self):
        return self.get("x-app") == "echo"

    def seen(self, name):
        """The values of a header that the application got."""
        assert self.from_app, self
        return [value for key, value in json.loads(self.body)["headers"] if key.lower() == name]

    def cookies(self):
        """The cookies of Countersign: name to value and attributes."""
        set_cookies = [cookie.partition("=") for cookie in self.all("set-cookie")]
        ours = [(name, rest) for name, _, rest in set_cookies if name.startswith("__Host-countersign")]
        assert len(ours) == len(dict(ours)), self
        return {name: rest.partition(";")[::2] for name, rest in ours}


def ask(port, path="/", headers=(), method="GET", body=None, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
        for name, value in [("host", host)] * (host is not None) + list(headers):
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def send(port, *lines, source="127.0.0.1"):
    """Sends the lines of a head as they are, from an address of this machine; the response and its wire."""
    wire = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    wire.sendall(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\r\n" for line in (*lines, "")))
    response = http.client.HTTPResponse(wire)
    response.begin()
    return response, wire


def ask_for(port, path, headers=()):
    """Asks for a path that is sent byte for byte."""
    path = path if isinstance(path, bytes) else path.encode()
    lines = ["Host: shop.example.com", "Connection: close", *(f"{name}: {value}" for name, value in headers)]
    response, wire = send(port, b"GET " + path + b" HTTP/1.1", *lines)
    with wire:
        return Answer(response)


def denied(answer, status, reason=None):
    """Checks that the application did not get the request, and that the answer says why."""
    assert answer.status == status and not answer.from_app, answer
    if reason is not None:
        assert answer.get("content-type") == "application/json", answer
        said = json.loads(answer.body)
        assert said["error"] == reason and said["message"], answer
        assert "no-store" in (answer.get("cache-control") or ""), answer
    if status == 401:
        error = f'Bearer error="invalid_token", error_description="{reason}"'
        challenge = answer.get("www-authenticate")
        assert challenge == ("Bearer" if reason == "TOKEN_MISSING" else error if reason else challenge), answer
        assert challenge and challenge.startswith("Bearer"), answer
    return answer


def allowed(answer, user=None):
    """Checks that the application got the request, as one of `user`."""
    assert answer.status == 200 and answer.from_app, answer
    if user is not None:
        assert answer.seen("x-auth-user-id") == [user.id], answer
    return answer


def hidden_fields(page):
    """What a form sends without being asked."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.body.decode())
    return {name: html.unescape(value) for name, value in found}


class Browser:
    """Keeps the cookies that it is given, as browsers do, and knows no token."""

    def __init__(self, seen, port, **held):
        self.seen, self.port, self.held = seen, port, {}
        self.held = {{"access": ACCESS, "refresh": REFRESH}[name]: value for name, value in held.items()}

    def ask(self, path="/", headers=(), **more):
        sent = "; ".join(f"{name}={value}" for name, value in self.held.items())
        answer = ask(self.port, path, [*headers, *[("cookie", sent)] * bool(sent)], **more)
        for name, (value, attributes) in answer.cookies().items():
            for token in value.split("~"):
                self.seen.add(token)
            if value == "" or "max-age=0" in attributes.lower():
                self.held.pop(name, None)
            else:
                self.held[name] = value
        return answer

    def post(self, path, fields):
        """Sends a form of a page of ours."""
        own = [("origin", f"http://127.0.0.1:{self.port}"), ("content-type", "application/x-www-form-urlencoded")]
        return self.ask(path, NAVIGATION + own, method="POST", body=urllib.parse.urlencode(fields).encode())

    def tokens(self):
        return {name: value for name, value in self.held.items() if name in (ACCESS, REFRESH)}
