"""Starts and stops the servers under test, keeps what they print, and checks it at the end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from reflected import Client
from secrets_seen import STORED_SECRETS, Seen

STARTS_WITHIN = 60
STOPS_WITHIN = 30


def wait_until(what, condition, seconds):
    """Asks until the answer is true; the answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def frozen(cluster):
    """The Postgres of this data directory as it is on a machine that hangs: it neither answers nor closes a connection."""
    postmaster = int((cluster / "postmaster.pid").read_text().split()[0])
    stopped = [postmaster]
    os.kill(postmaster, signal.SIGSTOP)
    try:
        for pid in children(postmaster):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def environment(**settings):
    """Ours without any setting of Countersign or Postgres, so that the job is the same everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "PG"))}
    return kept | settings


class Job:
    """The binary, a directory that an unprivileged Postgres can enter, and the servers that were started."""

    def __init__(self, binary):
        self.binary = binary
        self.seen = Seen()
        self.servers = []
        self.dir = Path(tempfile.mkdtemp(prefix="countersign-clients-", dir="/tmp"))
        self.dir.chmod(0o755)

    def dev(self, name, *settings):
        data = self.dir / name
        server = Server(self, name, "dev", "--data-dir", str(data), *settings)
        server.wait_for_facts(data)
        return server

    def serve(self, name, dev, *settings):
        """A replica beside `dev`, on the same database."""
        facts = dev.facts
        database = ["--database-url", facts["database_url"], "--master-key-file", facts["master_key_file"]]
        if "--lame-duck" not in settings:
            settings = (*settings, "--lame-duck", "0s")
        server = Server(self, name, "serve", "--log-format", "json", *database, *settings)
        server.wait_for_log()
        return server

    def command(self, *arguments, stdin="", **settings):
        """Runs a subcommand to its end."""
        return subprocess.run(
            [self.binary, *arguments],
            input=stdin,
            env=environment(**settings),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def finish(self):
        """Stops what runs, last started first, and then looks for secrets."""
        failures = [failure for server in reversed(self.servers) for failure in server.end()]
        failures += [failure for server in self.servers for failure in server.leaks()]
        assert not failures, f"{failures}; logs are in {self.dir}"
        shutil.rmtree(self.dir)


class Server:
    """A process of `countersign dev` or `countersign serve`."""

    def __init__(self, job, name, command, *settings):
        self.job, self.name, self.data, self.facts = job, name, None, None
        self.out = job.dir / f"{name}-{len(job.servers)}.out"
        self.err = self.out.with_suffix(".err")
        addresses = ["--http-addr", "127.0.0.1:0"]
        if "--grpc-addr" not in settings:
            addresses += ["--grpc-addr", "127.0.0.1:0"]
        log = [] if "--log" in settings else ["--log", "debug"]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [job.binary, command, *log, *addresses, *settings],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(),
            )
        self.ended = False
        job.servers.append(self)

    def wait_for_facts(self, data):
        """`dev.json` is renamed into its place; the one of an earlier start names another process's ports."""
        self.data = data
        started = "Countersign is ready"
        wait_until(f"the banner of {self.name}", lambda: self.runs() and started in self.out.read_text(), STARTS_WITHIN)
        self.facts = json.loads((data / "dev.json").read_text())
        self.job.seen.add(self.facts["password"])
        self.job.seen.add(self.facts["admin_token"])
        self.connect()

    def wait_for_log(self):
        lines = wait_until(f"the ports of {self.name}", lambda: self.runs() and self.served(), STARTS_WITHIN)
        self.facts = {"grpc_addr": lines[0]["grpc"], "http_addr": lines[0]["http"]}
        self.connect()

    def served(self):
        lines = [line for line in self.err.read_text().splitlines(keepends=True) if line.endswith("\n")]
        fields = [json.loads(line)["fields"] for line in lines]
        return [found for found in fields if found.get("message") == "serving"]

    def connect(self):
        self.client = Client(self.facts["grpc_addr"], self.job.seen)
        wait_until(f"{self.name} is healthy", self.client.is_serving, STARTS_WITHIN)

    def client_with(self, bearer):
        return Client(self.facts["grpc_addr"], self.job.seen, bearer)

    def runs(self):
        code = self.process.poll()
        assert code is None, f"{self.name} ended with {code}: {self.err.read_text()[-2000:]}"
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.ended = True

    def end(self):
        """Stops it as an init system would; what was wrong with that."""
        if self.ended:
            return []
        code = self.process.poll()
        if code is not None:
            return [f"{self.name} had ended by itself with {code}"]
        self.ended = True
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            return [f"{self.name} did not stop within {STOPS_WITHIN} s of SIGTERM"]
        wrong = [f"{self.name} ended with {code}"] if code != 0 else []
        left = processes_in(self.data) if self.data else []
        return wrong + [f"{self.name} left processes {left}"] * bool(left)

    def leaks(self):
        """Secrets in what it printed, apart from those that the banner is to show, and in its database."""
        found = self.job.seen.found_in(self.err.read_text())
        banner = self.out.read_text()
        if self.data:
            for shown in ("password", "admin_token"):
                banner = banner.replace(self.facts[shown], "")
        found += self.job.seen.found_in(banner)
        if self.data:
            found += self.job.seen.secrets_in((self.data / "postgres.log").read_text())
            files = [path for path in (self.data / "postgres").rglob("*") if path.is_file()]
            demo = self.facts["password"].encode()
            found += [f"in {path}" for path in files if holds_secret(path.read_bytes(), demo)]
        return [f"{self.name} leaks {secret}" for secret in found]

    @contextmanager
    def frozen_database(self):
        """Its Postgres frozen. Afterwards it is well again, and the server has heard from it."""
        token = self.client.call("Login", **self.demo()).tokens.access_token
        with frozen(self.data / "postgres"):
            yield
        thawed = time.time()
        wait_until("revocations are followed again", lambda: self.state_is_as_of(token) > thawed, 30)

    def demo(self):
        return {"username": self.facts["username"], "password": self.facts["password"]}

    def state_is_as_of(self, token):
        call = self.client.start("Verify", access_token=token)
        return 0 if call.exception() else call.result().revocations_as_of.ToNanoseconds() / 1e9


def holds_secret(content, demo):
    return STORED_SECRETS.search(content) is not None or demo in content


def pids():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def children(parent):
    def is_child(pid):
        try:
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == parent
        except (FileNotFoundError, ProcessLookupError):
            return False

    return [pid for pid in pids() if is_child(pid)]


def processes_in(directory):
    """Processes that work in `directory`, as those of Postgres do in its data, or that name it."""

    def is_there(pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            return str(directory) in os.readlink(f"/proc/{pid}/cwd") or str(directory).encode() in command
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False

    return [pid for pid in pids() if is_there(pid)]
