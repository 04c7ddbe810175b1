"""A server that all tests of a run share."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--binary", required=True, help="path of the countersign binary")


def wait_until(what, condition, seconds=60):
    """Asks until the answer is true; the answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Process:
    """A program that was started for the tests, and what it printed."""

    def __init__(self, log, *command, **user):
        self.log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "PG"))}
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, **user)

    def runs(self):
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return True

    def end(self, by=signal.SIGTERM):
        self.process.send_signal(by)
        return self.process.wait(30)


@pytest.fixture(scope="session")
def binary(request):
    return request.config.getoption("--binary")


@pytest.fixture(scope="session")
def folder():
    """A directory that an unprivileged Postgres can enter."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-deploy-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server(binary, folder):
    """The facts of a running `countersign dev`."""
    data = folder / "dev"
    settings = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--max-staleness", "6s"]
    process = Process(folder / "dev.log", binary, "dev", "--data-dir", str(data), *settings)
    ready = "Countersign is ready"
    wait_until("the banner", lambda: process.runs() and ready in (folder / "dev.log").read_text())
    yield json.loads((data / "dev.json").read_text())
    assert process.end() == 0


@pytest.fixture(scope="session")
def exposition(server):
    """What /metrics says."""
    return get(f"http://{server['http_addr']}/metrics")
