"""Servers that all tests of a run share, started as those of tests/clients are."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "tests" / "clients"), str(ROOT / "tests" / "mesh")]

from actors import User  # noqa: E402
from processes import Job  # noqa: E402
from relay import Relay  # noqa: E402

from countersign import Countersign, Verifier  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--binary", required=True, help="path of the countersign binary")


@pytest.fixture(scope="session")
def job(request):
    job = Job(request.config.getoption("--binary"))
    yield job
    job.finish()


@pytest.fixture(scope="session")
def dev(job):
    return job.dev("dev", "--audience", "internal,billing")


@pytest.fixture(scope="session")
def replica(job, dev):
    return job.serve("replica", dev, "--audience", "internal,billing")


@pytest.fixture
def alice(dev):
    return User(dev.client, "alice", roles=["reader"])


@pytest.fixture
def verifier_of():
    """Makes verifiers that are ready, and closes them."""
    made = []

    def make(*servers, ready=True, **settings):
        verifier = Verifier([url(server) for server in servers], **settings)
        made.append(verifier)
        if ready:
            verifier.ready(10)
        return verifier

    yield make
    for verifier in made:
        verifier.close()


@pytest.fixture
def client(dev):
    with Countersign(url(dev)) as client:
        yield client


@pytest.fixture
def relay(dev):
    relay = Relay(int(dev.facts["grpc_addr"].rpartition(":")[2]))
    yield relay
    relay.end()


def url(server):
    """The URL of a server, or of a relay."""
    return "http://" + (server.addr if isinstance(server, Relay) else server.facts["grpc_addr"])
