"""The examples, as a reader of README.md would start them, and the wheel."""

import http.client
import re
import socket
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from conftest import url
from helpers import until_true

PACKAGE = Path(__file__).resolve().parents[1]


@pytest.fixture
def start(dev):
    """Starts an example; the address at which it answers."""
    running = []

    def run(name):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"127.0.0.1:{port}"
        command = [sys.executable, f"examples/{name}.py", address, url(dev)]
        process = subprocess.Popen(command, cwd=PACKAGE)
        running.append(process)
        until_true("it listens", lambda: process.poll() is None and listens(port), 20)
        return address

    yield run
    for process in running:
        process.terminate()
        process.wait(10)


def listens(port):
    with socket.socket() as end:
        return end.connect_ex(("127.0.0.1", port)) == 0


def get(address, path, token=None):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers["countersign-reason"]


def test_the_service_of_fastapi(start, dev, alice):
    address = start("asgi_app")
    tokens = alice.login()
    assert get(address, "/orders")[::2] == (401, "TOKEN_MISSING")
    assert get(address, "/health")[0] == 200
    assert get(address, "/orders", tokens.access_token)[:2] == (200, f'"orders of {alice.id}"')
    dev.client.call("Revoke", refresh_token=tokens.refresh_token)
    until_true("it is refused", lambda: get(address, "/orders", tokens.access_token)[2] == "TOKEN_REVOKED", 3)


def test_the_service_of_grpc(start, dev, alice):
    tokens = alice.login()
    with grpc.insecure_channel(start("grpc_service")) as channel:
        stub = channel.unary_unary("/shop.Orders/List", StringValue.SerializeToString, StringValue.FromString)

        def ask(*metadata):
            try:
                return stub(StringValue(), timeout=10, metadata=metadata, wait_for_ready=True).value
            except grpc.RpcError as error:
                return dict(error.trailing_metadata())["countersign-reason"]

        bearer = ("authorization", f"Bearer {tokens.access_token}")
        assert ask() == "TOKEN_MISSING"
        assert ask(bearer) == f"orders of {alice.id}"
        dev.client.call("Revoke", refresh_token=tokens.refresh_token)
        until_true("it is refused", lambda: ask(bearer) == "TOKEN_REVOKED", 3)


def test_the_readme_shows_the_examples():
    shown = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S)[:2]
    for code, name in zip(shown, ("asgi_app", "grpc_service"), strict=True):
        assert code in (PACKAGE / "examples" / f"{name}.py").read_text()


def test_the_wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"countersign/py.typed", "countersign/_proto/auth_pb2.py", "countersign/_proto/auth_pb2.pyi"} <= set(names)
    assert not [name for name in names if name.startswith("tests")]
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, env={"PATH": ""})
    # What it depends on is that of this run.
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    code = "import countersign, countersign.asgi, countersign.grpc_interceptor; print(countersign.__file__)"
    found = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(site))
