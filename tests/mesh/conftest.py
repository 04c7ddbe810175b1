"""Servers and proxies that all tests of a run share."""

import pytest

from actors import User
from app import App
from processes import Job
from proxies import Caddy, Envoy, Haproxy, HttpService, Nginx
from told import SETTINGS, Told

AUDIENCES = ["--audience", "internal,billing"]
POLICY = """
[[routes]]
path = "/open"
methods = ["GET", "HEAD"]
access = "public"

[[routes]]
path = "/guests"
access = "optional"

[[routes]]
path = "/staff"
roles_any = ["staff", "admin"]

[[routes]]
path = "/both"
roles_all = ["staff", "auditor"]

[[routes]]
host = "billing.example.com"
audience = "billing"
"""
# How each proxy that asks by HTTP names the request.
NAMES = {"nginx": "x-original", "haproxy": "x-original", "caddy": "x-forwarded", "http_service": "path"}
KINDS = {"nginx": Nginx, "haproxy": Haproxy, "caddy": Caddy, "http_service": HttpService}


def pytest_addoption(parser):
    parser.addoption("--binary", required=True, help="path of the countersign binary")
    parser.addoption("--revocations", type=int, default=5000, help="in the test of many; 100000 takes 30 s")


@pytest.fixture(scope="session")
def job(request):
    job = Job(request.config.getoption("--binary"))
    yield job
    job.finish()


def shared(server):
    """Marks a server that lives until the run ends."""
    server.is_shared = True
    return server


@pytest.fixture(scope="module", autouse=True)
def end_servers_of_this_file(job):
    """Ends the others when their file is through: a database has so many connections and no more."""
    yield
    started = reversed(job.servers)
    others = [server for server in started if not server.ended and not getattr(server, "is_shared", False)]
    assert [wrong for server in others for wrong in server.end()] == []


@pytest.fixture(scope="session")
def dev(job):
    """Without a route policy; Envoy says what a route needs."""
    return shared(job.dev("dev", *AUDIENCES, "--browser-sessions", "login-page", "--token-username"))


@pytest.fixture(scope="session")
def policy_file(job):
    file = job.dir / "policy.toml"
    file.write_text(POLICY)
    return file


@pytest.fixture(scope="session")
def by_name(job, dev, policy_file):
    """Servers with the route policy, by how they are told of requests. Each is started when it is first needed."""
    servers = {}

    def server(name):
        if name not in servers:
            settings = [*AUDIENCES, "--forward-auth", name, "--browser-sessions", "login-page", "--token-username"]
            # By the token alone no rules can be matched.
            rules = ["--policy-file", str(policy_file)] if name != "token" else []
            servers[name] = shared(job.serve(name, dev, *settings, *rules))
        return servers[name]

    return server


@pytest.fixture(scope="session")
def hasty(job, dev):
    """Its access tokens are as short-lived as they may be."""
    settings = [*AUDIENCES, "--forward-auth", "x-original", "--browser-sessions", "login-page"]
    return shared(job.serve("hasty", dev, *settings, "--access-token-ttl", "10s"))


@pytest.fixture(scope="session")
def app():
    app = App()
    yield app
    app.end()


@pytest.fixture(scope="session")
def start(job, app):
    """Starts proxies that live until the end: `start(Envoy, server)`."""
    started = []

    def start(kind, server, *changes):
        started.append(kind(job, app, server.facts, changes))
        return started[-1]

    yield start
    for proxy in reversed(started):
        proxy.end()


@pytest.fixture(scope="session")
def envoy(start, dev):
    return start(Envoy, dev)


@pytest.fixture(scope="session")
def source(job, dev):
    """A replica that tells proxies what has ended; another one is asked to end it."""
    return shared(job.serve("told-by", dev, *SETTINGS))


@pytest.fixture(scope="session")
def told(job, app, source):
    proxy = Told(job, app, [source.facts["grpc_addr"]])
    yield proxy
    proxy.end()


@pytest.fixture
def start_told(job, app):
    """Starts proxies that are told by these addresses, and live until the test ends."""
    started = []

    def start(*addresses, settings=()):
        started.append(Told(job, app, addresses, *settings))
        return started[-1]

    yield start
    for proxy in started:
        proxy.end()


@pytest.fixture(scope="session")
def client(dev):
    return dev.client


@pytest.fixture(scope="session")
def alice(client):
    return User(client, "alice", roles=["reader"])


@pytest.fixture(scope="session")
def boss(client):
    return User(client, "boss", roles=["staff", "auditor"])


@pytest.fixture(scope="session")
def token(alice):
    """An access token of alice that stays valid."""
    return alice.login().access_token


@pytest.fixture(scope="session")
def boss_token(boss):
    return boss.login().access_token
