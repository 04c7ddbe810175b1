"""The machinery: etcd, Patroni with Postgres on three nodes, haproxy, and replicas of `countersign serve`.

All of it on loopback, with free ports, in one directory that is removed at the end. What must not be root is not.
"""

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from processes import children, environment, wait_until
from reflected import Client

HERE = Path(__file__).parent

# The smallest that Patroni takes. In production: 30, 10, 10.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 1, 3

PATRONI = """
scope: drill
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{host: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: {loop_wait}
    retry_timeout: {retry_timeout}
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      parameters: {{fsync: 'off', max_connections: 150, shared_buffers: 64MB, wal_keep_size: 256MB}}
  initdb: [{{encoding: UTF8}}, no-sync]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {data}
  bin_dir: {bin}
  pgpass: {data}.pgpass
  authentication:
    superuser: {{username: postgres, password: none}}
    replication: {{username: replicator, password: none}}
    rewind: {{username: postgres, password: none}}
  parameters: {{unix_socket_directories: '{dir}'}}
  pg_hba:
  - local all all trust
  - host all all 127.0.0.1/32 trust
  - host replication all 127.0.0.1/32 trust
"""

HAPROXY = """
global
  maxconn 2000
defaults
  mode tcp
  retries 1
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout check 500ms
listen primary
  bind 127.0.0.1:{port}
  option httpchk GET /primary
  http-check expect status 200
  default-server inter 500ms fall 2 rise 1{on_marked_down}
{servers}
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def postgres_bin():
    """The newest that is installed, or the one that is named."""
    named = os.environ.get("COUNTERSIGN_POSTGRES_BIN")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return Path(named) if named else (found[-1] if found else Path(shutil.which("initdb")).resolve()).parent


class Unseen:
    """Nobody searches the logs for secrets here; the tests of clients do."""

    def add_message(self, message):
        pass


class Directory:
    """Where everything lives, and who the processes are that must not be root."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="countersign-drill-", dir="/tmp"))
        self.path.chmod(0o755)
        self.as_nobody = {}
        self.started = []
        if os.geteuid() == 0:
            somebody = next(user for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody") and user.pw_uid)
            self.as_nobody = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
        self.unprivileged = self.folder("unprivileged")
        # The repository may be where nobody else can read.
        self.venv = self.path / "venv"
        shutil.copytree(HERE / ".venv", self.venv, symlinks=True, ignore=shutil.ignore_patterns("pip", "setuptools"))

    def folder(self, name):
        folder = self.path / name
        folder.mkdir(mode=0o700)
        if self.as_nobody:
            os.chown(folder, self.as_nobody["user"], self.as_nobody["group"])
        return folder

    def spawn(self, name, *command, privileged=False, env=None):
        with open(self.path / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.path if privileged else self.unprivileged,
                env=env or environment(HOME=str(self.unprivileged)),
                start_new_session=True,
                **({} if privileged else self.as_nobody),
            )
        self.started.append(process)
        return process

    def remove(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for file in self.unprivileged.glob("*/postmaster.pid"):
            send(int(file.read_text().split()[0]), signal.SIGQUIT)
        wait_until("Postgres has gone", lambda: not list(self.unprivileged.glob("*/postmaster.pid")), 20)

    def forget(self):
        shutil.rmtree(self.path, ignore_errors=True)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Node:
    """Postgres and the Patroni that looks after it."""

    def __init__(self, directory, name, etcd):
        self.directory, self.name = directory, name
        self.port, self.rest = free_port(), free_port()
        self.data = directory.unprivileged / name
        self.config = directory.path / f"{name}.yml"
        values = {"ttl": TTL, "loop_wait": LOOP_WAIT, "retry_timeout": RETRY_TIMEOUT, "etcd": etcd, "bin": postgres_bin()}
        places = {"name": name, "port": self.port, "rest": self.rest, "data": self.data, "dir": directory.unprivileged}
        self.config.write_text(PATRONI.format(**values, **places))

    def start(self):
        self.patroni = self.directory.spawn(self.name, self.directory.venv / "bin/python", "-m", "patroni", self.config)

    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self):
        """As when the machine loses power."""
        postmaster = self.postmaster()
        pids = [self.patroni.pid, postmaster, *children(postmaster)]
        for pid in pids:
            send(pid, signal.SIGKILL)
        self.patroni.wait()

    def ask(self, path, body=None, timeout=1):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest}{path}", data=data)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read().decode()

    def sql(self, statement):
        """What psql prints, straight from this node."""
        command = [postgres_bin() / "psql", "-XAtc", statement, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment())
        return done.stdout.strip() if done.returncode == 0 else f"no answer: {done.stderr.strip()}"


class Cluster:
    """etcd with one node, three of Patroni, and haproxy, which asks Patroni which is the primary."""

    def __init__(self, directory):
        self.directory = directory
        client, peer = free_port(), free_port()
        urls = [f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"]
        options = ["--name", "drill", "--data-dir", directory.folder("etcd"), "--initial-cluster", f"drill={urls[1]}"]
        options += ["--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]]
        options += ["--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1]]
        directory.spawn("etcd", "etcd", *options)
        self.nodes = [Node(directory, f"node{number}", client) for number in (1, 2, 3)]
        self.nodes[0].start()
        wait_until("a primary", lambda: self.leader() is not None, 60)
        for node in self.nodes[1:]:
            node.start()
        self.proxies = {kill: self.haproxy(kill) for kill in (False, True)}
        self.wait_for_health()

    def haproxy(self, kills_sessions):
        """With or without on-marked-down shutdown-sessions: whether connections to the old primary stay."""
        port, name = free_port(), "haproxy-kills" if kills_sessions else "haproxy-keeps"
        servers = "\n".join(f"  server {n.name} 127.0.0.1:{n.port} check port {n.rest}" for n in self.nodes)
        config = self.directory.path / f"{name}.cfg"
        on_marked_down = " on-marked-down shutdown-sessions" if kills_sessions else ""
        config.write_text(HAPROXY.format(port=port, servers=servers, on_marked_down=on_marked_down))
        self.directory.spawn(name, "haproxy", "-db", "-f", config)
        return port

    def url(self, kind):
        hosts = {
            "keeps": f"127.0.0.1:{self.proxies[False]}",
            "kills": f"127.0.0.1:{self.proxies[True]}",
            "direct": ",".join(f"127.0.0.1:{node.port}" for node in self.nodes),
        }
        return f"postgres://postgres@{hosts[kind]}/postgres"

    def members(self):
        """What the nodes say about the cluster; nothing while none answers."""
        for node in self.nodes:
            try:
                return json.loads(node.ask("/cluster"))["members"]
            except (OSError, ValueError, KeyError):
                continue
        return []

    def leader(self, but=None):
        """The node that says of itself that it is the primary and holds the lock."""
        for node in self.nodes:
            try:
                if node is not but and node.ask("/primary", timeout=0.5):
                    return node
            except OSError:
                continue
        return None

    def synchronous_standby(self):
        names = [member["name"] for member in self.members() if member["role"] == "sync_standby"]
        return next((node for node in self.nodes if node.name in names), None)

    def is_healthy(self):
        members = self.members()
        roles = sorted(member["role"] for member in members)
        leaders = {member.get("timeline") for member in members if member["role"] == "leader"}
        states = {member["state"] for member in members}
        timelines = {member.get("timeline") for member in members}
        whole = roles == ["leader", "replica", "sync_standby"] and states <= {"running", "streaming"}
        return whole and timelines == leaders and self.leader() is not None

    def wait_for_health(self, seconds=90):
        wait_until("one primary and two standbys", self.is_healthy, seconds)


class Replica:
    """`countersign serve`."""

    def __init__(self, service, name, url):
        self.name = name
        self.addr = f"127.0.0.1:{free_port()}"
        addresses = ["--grpc-addr", self.addr, "--http-addr", "127.0.0.1:0"]
        env = service.environment | {"COUNTERSIGN_DATABASE_URL": url}
        self.process = service.directory.spawn(name, service.binary, "serve", *addresses, privileged=True, env=env)
        wait_until(f"{name} serves", self.is_serving, 60)
        self.client = self.new_client()

    def new_client(self, bearer=None):
        return Client(self.addr, Unseen(), bearer)

    def is_serving(self):
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
        try:
            return self.new_client().is_serving()
        except Exception:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert code == 0, f"{self.name} ended with {code}"


class Service:
    """The schema, the settings, and the replicas that run."""

    def __init__(self, directory, cluster, binary, bound):
        self.directory, self.cluster, self.binary = directory, cluster, binary
        self.admin_token = secrets.token_hex(24)
        token, key = directory.path / "admin-token", directory.path / "master.key"
        token.write_text(self.admin_token + "\n")
        key.write_text(self.command("keys", "generate-master"))
        self.environment = environment(
            COUNTERSIGN_MASTER_KEY_FILE=str(key),
            COUNTERSIGN_ADMIN_TOKEN_FILE=str(token),
            COUNTERSIGN_MAX_STALENESS=bound,
            COUNTERSIGN_ACCESS_TOKEN_TTL="1h",
            COUNTERSIGN_LOGIN_FAILURES="0",
            COUNTERSIGN_LOGIN_FAILURES_PER_SOURCE="0",
            COUNTERSIGN_LOG=os.environ.get("COUNTERSIGN_LOG", "countersign=debug,countersign::audit=off"),
        )
        self.command("migrate", COUNTERSIGN_DATABASE_URL=cluster.url("keeps"))
        self.replicas = []

    def command(self, *arguments, **settings):
        env = environment(**settings)
        return subprocess.run([self.binary, *arguments], env=env, check=True, capture_output=True, text=True).stdout

    def start(self, kinds):
        """One replica for each kind of address."""
        started = time.monotonic_ns()
        for replica in self.replicas:
            replica.stop()
        self.replicas = [
            Replica(self, f"replica{number}-{kind}-{started}", self.cluster.url(kind))
            for number, kind in enumerate(kinds, 1)
        ]
