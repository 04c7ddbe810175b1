"""The example services of the Rust client library: protected by the lines of its README."""

import http.client
import signal
import socket
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from processes import environment, wait_until


@pytest.fixture
def start(job, dev, replica):
    """Starts an example, which follows the replica; sessions are ended at the other one."""
    started = []

    def start(name):
        program = Path(job.binary).parent / "examples" / name
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [str(program), address, f"http://{replica.facts['grpc_addr']}"]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment()))
        return address, started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def get(address, path, token=None):
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("countersign-reason"), answer.read().decode()
    except ConnectionRefusedError:
        return None, None, ""
    finally:
        connection.close()


def ended(client, tokens, refused):
    """Ends the session, and says how long it took until it was refused."""
    client.call("Revoke", session_id=tokens.session_id)
    begun = time.monotonic()
    wait_until("it is refused", refused, 5)
    return time.monotonic() - begun


def test_an_axum_service_is_protected_by_ten_lines(start, alice, client):
    address, _ = start("axum")
    wait_until("it listens", lambda: get(address, "/health")[0] == 200, 30)
    tokens = alice.login()
    wait_until("it knows", lambda: get(address, "/orders", tokens.access_token)[0] == 200, 30)
    assert get(address, "/orders", tokens.access_token)[2] == f"orders of {alice.id}"
    assert get(address, "/orders")[:2] == (401, "TOKEN_MISSING")
    assert get(address, "/health/../orders")[0] == 401
    took = ended(client, tokens, lambda: get(address, "/orders", tokens.access_token)[:2] == (401, "TOKEN_REVOKED"))
    print(f"refused {took * 1000:.1f} ms after Revoke was answered")


def test_p1_a_service_that_was_suspended_accepts_nothing_that_ended_meanwhile(start, alice, client):
    bound = 10
    address, service = start("axum")
    wait_until("it listens", lambda: get(address, "/health")[0] == 200, 30)
    kept, tokens = alice.login(), alice.login()
    for it in kept, tokens:
        wait_until("it knows", lambda it=it: get(address, "/orders", it.access_token)[0] == 200, 30)
    service.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    client.call("Revoke", session_id=tokens.session_id)
    wait_until("the bound has passed", lambda: time.monotonic() - began > bound, bound + 5)
    service.send_signal(signal.SIGCONT)
    # The first answers are given before the service can hear of anything.
    answers = [get(address, "/orders", tokens.access_token)[:2] for _ in range(100)]
    assert set(answers) <= {(503, "REVOCATIONS_STALE"), (401, "TOKEN_REVOKED")}
    wait_until("it has heard", lambda: get(address, "/orders", tokens.access_token)[0] == 401, 10)
    wait_until("it goes on", lambda: get(address, "/orders", kept.access_token)[0] == 200, 10)


def test_a_tonic_service_is_protected_by_ten_lines(start, alice, client):
    with grpc.insecure_channel(start("tonic")[0]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30)

        def watch(token=None):
            """What a call that needs a token answers: OK, or the reason in one line."""
            metadata = [("authorization", f"Bearer {token}")] if token else []
            call = health.Watch(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=10)
            try:
                next(call)
                call.cancel()
                return "OK"
            except grpc.RpcError:
                return dict(call.trailing_metadata())["countersign-reason"]

        tokens = alice.login()
        wait_until("it knows", lambda: watch(tokens.access_token) == "OK", 30)
        assert watch() == "TOKEN_MISSING"
        assert watch(tokens.access_token[:-4] + "AAAA") == "TOKEN_SIGNATURE_INVALID"
        took = ended(client, tokens, lambda: watch(tokens.access_token) == "TOKEN_REVOKED")
        print(f"refused {took * 1000:.1f} ms after Revoke was answered")
