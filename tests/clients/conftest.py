"""Servers that all tests of a run share. They stop at the end, and then their logs and databases are searched."""

import secrets

import pytest

from actors import User
from processes import Job

BOUND = 4  # seconds; --max-staleness where a test waits for it


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
def client(dev):
    return dev.client


@pytest.fixture(scope="session")
def admin_token(job):
    token = secrets.token_hex(24)
    job.seen.add(token)
    file = job.dir / "admin-token"
    file.write_text(token + "\n")
    return token


@pytest.fixture(scope="session")
def replica(job, dev, admin_token):
    """A second replica, which administrators use with a token."""
    settings = ["--admin-token-file", str(job.dir / "admin-token"), "--max-staleness", f"{BOUND}s"]
    return job.serve("replica", dev, "--audience", "internal,billing", *settings)


@pytest.fixture(scope="session")
def hasty(job, dev):
    """A replica whose tokens are short-lived, which hashes one password at a time, and which nobody administers."""
    return job.serve("hasty", dev, "--access-token-ttl", "10s", "--hash-threads", "1", "--hash-queue", "1")


@pytest.fixture(scope="session")
def stranger(job):
    """Another deployment, with a database and keys of its own."""
    return job.dev("stranger", "--max-staleness", f"{BOUND}s")


@pytest.fixture
def alice(client):
    return User(client, "alice", roles=["reader"])
