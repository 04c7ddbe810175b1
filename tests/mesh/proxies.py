"""Proxies with the files of deploy/, in which only addresses are replaced: of listeners, and of what is behind them."""

import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from processes import environment, free_port, wait_until

HERE = Path(__file__).parent
DEPLOY = HERE.parent.parent / "deploy"
STARTS_WITHIN = 30


def port_of(address):
    return int(address.rpartition(":")[2])


class Proxy:
    """A running proxy before a server and an application."""

    # Of the file, from deploy/ on.
    file = None
    # How the file writes a host and a port.
    form = "{}:{}"
    # Names and ports of the file, and whether each stands for our listener or for what is behind it.
    places = {}

    def __init__(self, job, app, facts, changes=()):
        self.port, self.more_port, self.log = free_port(), free_port(), None
        ours = {"port": self.port, "more_port": self.more_port, "app": app.port, "grpc_app": app.grpc_port}
        ours |= {"http": port_of(facts["http_addr"]), "grpc": port_of(facts["grpc_addr"])}
        text = (DEPLOY / self.file).read_text()
        for (host, port), place in self.places.items():
            text = replaced(text, self.form.format(host, port), self.form.format("127.0.0.1", ours[place]))
        for old, new in changes:
            text = replaced(text, old, new)
        name = self.file.replace("/", "-")
        # Not by the port alone: that of one that has ended may be free again.
        self.dir = Path(tempfile.mkdtemp(prefix=f"{name}-{self.port}-", dir=job.dir))
        self.config = self.dir / Path(self.file).name
        self.config.write_text(text)
        self.log = self.dir / "log"
        self.prepare(ours)
        with open(self.log, "wb") as log:
            command = [str(word) for word in self.command()]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment()
            )
        wait_until(f"{name} listens", lambda: self.runs() and self.is_ready(), STARTS_WITHIN)

    def prepare(self, ours):
        pass

    def environment(self):
        return environment()

    def runs(self):
        code = self.process.poll()
        assert code is None, f"{self.config} ended with {code}: {self.log.read_text()[-2000:]}"
        return True

    def is_ready(self):
        with socket.socket() as found:
            return found.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        self.runs()
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()


def replaced(text, old, new):
    assert old in text, f"{old!r} is not in the file any more"
    return text.replace(old, new)


class Envoy(Proxy):
    file = "envoy/envoy.yaml"
    form = "address: {}, port_value: {} "
    places = {
        ("0.0.0.0", 8000): "port",
        ("127.0.0.1", 9901): "more_port",
        ("countersign", 50051): "grpc",
        ("countersign", 8080): "http",
        ("app", 8080): "app",
        ("grpc-app", 50051): "grpc_app",
    }

    def command(self):
        # Else it writes its access log each ten seconds.
        hasty = ["--file-flush-interval-msec", 100]
        return ["envoy", "-c", self.config, "--use-dynamic-base-id", "--concurrency", 2, "--log-level", "warn", *hasty]

    def is_ready(self):
        """It listens once it has heard whether what is behind it is healthy."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.more_port}/ready", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    def stat(self, name):
        """The value of a counter; one that there is not yet is 0."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.more_port}/stats?filter=^{name}$", timeout=5) as answer:
            return int(answer.read().rpartition(b": ")[2] or 0)


class HttpService(Envoy):
    file = "envoy/http_service.yaml"
    places = {place: ours for place, ours in Envoy.places.items() if ours not in ("grpc", "grpc_app")}


class JwtAuthn(HttpService):
    file = "envoy/jwt_authn.yaml"


class Nginx(Proxy):
    file = "nginx/nginx.conf"
    places = {
        ("0.0.0.0", 8000): "port",
        ("0.0.0.0", 8001): "more_port",
        ("countersign", 8080): "http",
        ("app", 8080): "app",
        ("grpc-app", 50051): "grpc_app",
    }

    def prepare(self, ours):
        """Debian's places for what does not fit into memory are root's."""
        if os.getuid() != 0:
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            paths = "".join(f"    {kind}_temp_path {self.dir}/{kind};\n" for kind in kinds)
            self.config.write_text(replaced(self.config.read_text(), "http {\n", "http {\n" + paths))

    def command(self):
        settings = f"daemon off; pid {self.dir}/pid; error_log stderr;"
        return ["nginx", "-p", self.dir, "-c", self.config, "-e", "stderr", "-g", settings]


class Caddy(Proxy):
    file = "caddy/Caddyfile"
    places = {("countersign", 8080): "http", ("app", 8080): "app"}

    def __init__(self, job, app, facts, changes=()):
        super().__init__(job, app, facts, [("bind 0.0.0.0", "bind 127.0.0.1"), *changes])

    def prepare(self, ours):
        # A name before the port would be the only Host that it serves.
        self.config.write_text(replaced(self.config.read_text(), "http://:8000", f"http://:{ours['port']}"))

    def environment(self):
        return environment(HOME=str(self.dir), XDG_DATA_HOME=str(self.dir), XDG_CONFIG_HOME=str(self.dir))

    def command(self):
        return ["caddy", "run", "--adapter", "caddyfile", "--config", self.config]


class Haproxy(Proxy):
    file = "haproxy/haproxy.cfg"
    places = {("0.0.0.0", 8000): "port", ("countersign", 8080): "http", ("app", 8080): "app"}

    def prepare(self, ours):
        shutil.copy(DEPLOY / "haproxy/forward-auth.lua", self.dir)

    def command(self):
        return ["haproxy", "-db", "-f", self.config]
