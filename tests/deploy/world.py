"""Deployments for the drill: a Postgres, two replicas, each behind a wire of its own to it, and services that call both."""

import os
import pwd
import re
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path
from types import SimpleNamespace

from conftest import Process, get
from processes import environment, free_port, frozen, wait_until
from relay import Relay
from secrets_seen import new_password

# Seconds; long enough that a machine which is busy is not taken for a fault.
BOUND = 10
SETTINGS = ["--status-page", "--max-staleness", f"{BOUND}s", "--database-deadline", "500ms", "--log", "info"]
# Guessed names, few so that hashing is not what fails; after ten wrong passwords the guesses of one are throttled.
GUESSED = 10


def binaries():
    """Where the newest Postgres is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1]


def unprivileged():
    """Postgres refuses root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Postgres:
    def __init__(self, folder):
        self.folder, self.port, self.bin = folder, free_port(), binaries()
        folder.mkdir()
        if user := unprivileged():
            os.chown(folder, user["user"], user["group"])
        self.data = folder / "data"
        made = [self.bin / "initdb", "-D", self.data, "-U", "countersign", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, env=environment(), cwd=folder, **unprivileged())
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [self.bin / "postgres", "-D", self.data, *options]
        self.process = Process(folder.with_suffix(".log"), *command, **unprivileged())
        wait_until("Postgres listens", self.listens, 60)

    def listens(self):
        self.process.runs()
        try:
            return self.sql("SELECT 1") == "1"
        except subprocess.CalledProcessError:
            return False

    def url(self, port):
        return f"postgres://countersign@127.0.0.1:{port}/postgres"

    def sql(self, statement):
        """What psql says."""
        command = [self.bin / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url(self.port), "-c", statement]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), timeout=60)
        return done.stdout.strip()

    def end(self):
        # Smart shutdown, the answer to SIGTERM, waits for clients.
        self.process.end(signal.SIGINT)


class World:
    """A deployment and those who use it."""

    NAMES = ("a", "b")

    def __init__(self, job, name):
        self.name, self.job = name, job
        self.postgres = Postgres(job.dir / f"{name}-postgres")
        master_key = job.dir / f"{name}-master.key"
        self.user, self.password = f"service-of-{name}", new_password()
        job.seen.add(self.password)
        self.command("keys", "generate-master", "--output", str(master_key))
        self.command("migrate")
        self.wires = [Relay(self.postgres.port) for _ in self.NAMES]
        self.replicas = [self.serve(name, wire, master_key) for name, wire in zip(self.NAMES, self.wires)]
        self.command("user", "add", self.user, "--password-stdin", stdin=self.password + "\n")
        self.callers = [Caller(replica.client, self.user, self.password) for replica in self.replicas]

    def serve(self, name, wire, master_key):
        facts = {"database_url": self.postgres.url(wire.port), "master_key_file": str(master_key)}
        return self.job.serve(f"{self.name}-{name}", SimpleNamespace(facts=facts), *SETTINGS)

    def command(self, *arguments, stdin=""):
        url = {} if arguments[0] == "keys" else {"COUNTERSIGN_DATABASE_URL": self.postgres.url(self.postgres.port)}
        done = self.job.command(*arguments, stdin=stdin, **url)
        assert done.returncode == 0, done.stderr

    def targets(self):
        return {name: replica.facts["http_addr"] for name, replica in zip(self.NAMES, self.replicas)}

    def page(self, place):
        return get(f"http://{self.replicas[place].facts['http_addr']}/status")

    def findings(self, place):
        """What the status page of a replica says is wrong."""
        return re.findall(r'role="alert"><strong>(.*?)</strong>', self.page(place))

    def is_well(self, place):
        return "All is well" in self.page(place)

    def frozen_database(self):
        return frozen(self.postgres.data)

    def cut_off(self):
        """The second replica loses its network to the database."""
        return self.wires[1].silent()

    def flood(self):
        return Flood([replica.client for replica in self.replicas])

    def damaged_key(self):
        return DamagedKey(self.postgres)

    def end(self):
        for caller in self.callers:
            caller.end()
        wrong = [wrong for replica in self.replicas for wrong in replica.end()]
        for wire in self.wires:
            wire.end()
        self.postgres.end()
        assert wrong == []


class DamagedKey:
    """The row of the key that signs access tokens, with a byte too many, until it is put back."""

    ROW = "purpose = 'access_token' AND stage = 'active'"

    def __init__(self, postgres):
        self.sql = postgres.sql

    def __enter__(self):
        self.good = self.sql(f"UPDATE keys SET sealed_key = sealed_key || 'x'::bytea WHERE {self.ROW} RETURNING kid")

    def __exit__(self, *_):
        self.sql(f"UPDATE keys SET sealed_key = substr(sealed_key, 1, length(sealed_key) - 1) WHERE kid = '{self.good}'")


class Caller(threading.Thread):
    """A service that uses one replica, and goes on whatever it is answered."""

    def __init__(self, client, user, password):
        super().__init__(daemon=True)
        self.client, self.login = client, {"username": user, "password": password}
        self.tokens, self.ends = None, threading.Event()
        self.start()

    def run(self):
        while not self.ends.wait(0.2):
            if answer := self.ask("Login", **self.login):
                self.tokens = answer.tokens
            for _ in range(5):
                if self.tokens and not self.ends.wait(0.1):
                    self.ask("Verify", access_token=self.tokens.access_token)
            if self.tokens and (answer := self.ask("Refresh", refresh_token=self.tokens.refresh_token)):
                self.tokens = answer.tokens

    def ask(self, rpc, **fields):
        """The answer, if there is one."""
        call = self.client.start(rpc, timeout=5, **fields)
        if call.exception() is None:
            self.client.seen.add_message(call.result())
            return call.result()
        return None

    def end(self):
        self.ends.set()
        self.join(30)


class Flood(threading.Thread):
    """Somebody who guesses passwords of some names, from some addresses, some twenty a second."""

    def __init__(self, clients):
        super().__init__(daemon=True)
        # A call whose future is dropped is cancelled.
        self.clients, self.calls, self.ends = clients, deque(maxlen=200), threading.Event()

    def run(self):
        guesses = 0
        while not self.ends.wait(0.05):
            guesses += 1
            guess = {"username": f"guessed-name-{guesses % GUESSED}", "password": new_password()}
            client = self.clients[guesses % len(self.clients)]
            self.calls.append(client.start("Login", client={"ip": f"203.0.113.{guesses % 7}"}, **guess))

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.ends.set()
        self.join(30)
