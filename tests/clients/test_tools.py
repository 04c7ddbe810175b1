"""Tools that are pointed at a server without any file of ours: reflection, health, `buf curl`, the banner, the JWKS."""

import base64
import json
import re
import subprocess
import urllib.request

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_reflection.v1alpha import reflection_pb2

from processes import environment
from secrets_seen import new_password

EXPECTED = {
    "countersign.v1.AuthService",
    "countersign.v1.UserService",
    "grpc.health.v1.Health",
}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_reflection_list_the_services(client, version):
    """Their messages are the same but for the name of the package."""
    stub = client.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    [answer] = stub(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]), timeout=10)
    assert EXPECTED <= {service.name for service in answer.list_services_response.service}


def test_health_is_known_by_service(client):
    for service in ("", "countersign.v1.AuthService", "countersign.v1.UserService"):
        assert client.is_serving(service)


def test_the_public_keys_are_published_and_no_private_part(dev, alice):
    url = f"http://{dev.facts['http_addr']}/.well-known/jwks.json"
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.headers["content-type"] == "application/jwk-set+json"
        keys = json.load(answer)["keys"]
    header = alice.login().access_token.split(".")[0]
    header = json.loads(base64.urlsafe_b64decode(header + "=="))
    assert header.keys() == {"alg", "typ", "kid"} and (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    [key] = [key for key in keys if key["kid"] == header["kid"]]
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    assert all("d" not in key for key in keys)


class Buf:
    """`buf curl` as a person uses it, with nothing but the address."""

    def __init__(self, server, reflection):
        self.addr = server.facts["grpc_addr"]
        self.seen = server.job.seen
        self.options = ["--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", reflection]

    def run(self, rpc, request):
        url = f"http://{self.addr}/countersign.v1.AuthService/{rpc}"
        command = ["buf", "curl", *self.options, "-d", json.dumps(request), url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())

    def call(self, rpc, **request):
        done = self.run(rpc, request)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, rpc, **request):
        """Code and reason, which buf shows as the bytes of google.rpc.ErrorInfo."""
        done = self.run(rpc, request)
        assert done.returncode != 0
        error = json.loads(done.stderr)
        [info] = [detail["value"] for detail in error["details"] if detail["type"] == "google.rpc.ErrorInfo"]
        return error["code"], ErrorInfo.FromString(base64.b64decode(info + "==")).reason

    def keep(self, tokens):
        self.seen.add(tokens["accessToken"])
        self.seen.add(tokens["refreshToken"])
        return tokens


@pytest.mark.parametrize("reflection", ["grpc-v1", "grpc-v1alpha"])
def test_buf_curl_tells_the_whole_story(dev, alice, reflection):
    buf = Buf(dev, reflection)
    tokens = buf.keep(buf.call("Login", username=alice.name, password=alice.password)["tokens"])
    verified = buf.call("Verify", access_token=tokens["accessToken"])
    assert verified["principal"]["userId"] == alice.id
    assert verified["revocationsAsOf"]
    refreshed = buf.call("Refresh", refresh_token=tokens["refreshToken"])
    buf.keep(refreshed["tokens"])
    assert buf.call("Refresh", refresh_token=tokens["refreshToken"])["replayed"] is True
    assert buf.call("Revoke", refresh_token=tokens["refreshToken"])["sessionsRevoked"] == 1
    refusal = buf.refused("Verify", access_token=refreshed["tokens"]["accessToken"])
    assert refusal == ("unauthenticated", "TOKEN_REVOKED")


def test_buf_curl_shows_why_it_was_refused(dev, alice):
    buf = Buf(dev, "grpc-v1")
    refusal = buf.refused("Login", username=alice.name, password=new_password())
    assert refusal == ("unauthenticated", "INVALID_CREDENTIALS")
    assert buf.refused("Verify", access_token="garbage") == ("unauthenticated", "TOKEN_MALFORMED")
    assert buf.refused("Refresh", refresh_token="garbage") == ("unauthenticated", "REFRESH_TOKEN_INVALID")
    assert buf.refused("Revoke") == ("invalid_argument", "INVALID_ARGUMENT")


def banner_commands(banner, heading):
    """The indented lines below the line that starts with `heading`, up to the next line that is not indented."""
    lines = iter(banner.splitlines())
    for line in lines:
        if line.startswith(heading):
            break
    commands = []
    for line in lines:
        if line and not line[0].isspace():
            break
        commands.append(line)
    return "\n".join(commands)


def test_the_commands_of_the_banner_work_as_they_are_printed(dev):
    script = banner_commands(dev.out.read_text(), "or with buf")
    assert script.count("buf curl") >= 4, script

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        cwd=dev.job.dir,
    )

    for token in re.findall(r'"(?:accessToken|refreshToken)": *"([^"]+)"', done.stdout):
        dev.job.seen.add(token)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    for word in ('"principal"', '"refreshToken"', '"sessionsRevoked"', '"everywhereBy"'):
        assert word in done.stdout, done.stdout
