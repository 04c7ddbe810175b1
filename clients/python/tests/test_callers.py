"""Services that have to say who they are: by a service token, over TLS."""

import datetime
import hashlib
import secrets

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import url
from helpers import outage_of, until_true

from countersign import Countersign, Forbidden, Unavailable, Verifier


@pytest.fixture(scope="module")
def service_token(job):
    token = secrets.token_hex(24)
    job.seen.add(token)
    return token


@pytest.fixture(scope="module")
def strict(job, dev, service_token):
    """A replica that lets one caller in."""
    policy = job.dir / "policy.toml"
    hashed = hashlib.sha256(service_token.encode()).hexdigest()
    lines = ["[[callers]]", 'id = "token:shop"', 'rpcs = ["WatchRevocations", "Verify"]', "[[tokens]]", 'name = "shop"']
    policy.write_text("\n".join([*lines, f'sha256 = ["{hashed}"]']) + "\n")
    return job.serve("strict", dev, "--policy-file", str(policy))


def test_a_service_token_says_who_calls(strict, alice, verifier_of, service_token):
    token = alice.login().access_token
    for fallback in ("refuse", "ask"):
        assert verifier_of(strict, service_token=service_token, fallback=fallback).verify(token).user_id == alice.id
    with Countersign(url(strict), service_token=service_token) as client:
        assert client.verify(access_token=token).principal.user_id == alice.id
        with pytest.raises(Forbidden, match="CALLER_NOT_ALLOWED"):
            client.get_jwks()


@pytest.mark.parametrize("fallback", ["refuse", "ask"])
def test_what_befalls_the_service_itself_is_an_outage_for_users(strict, alice, verifier_of, fallback):
    verifier = verifier_of(strict, ready=False, fallback=fallback)
    token = alice.login().access_token
    until_true("it says why", lambda: outage_of(verifier.verify, token) == "CALLER_NOT_ALLOWED", 5)
    if fallback == "refuse":
        with pytest.raises(Unavailable, match="CALLER_NOT_ALLOWED"):
            verifier.ready(0.1)


def certificate(directory):
    """Files of a certificate for this machine, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    sealed = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain, private = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(made)
    private.write_bytes(key.private_bytes(*sealed))
    private.chmod(0o600)
    return chain, private


def test_tls(job, dev, alice, monkeypatch):
    chain, private = certificate(job.dir)
    # The helper looks for health in plaintext; here the verifier itself does.
    monkeypatch.setattr("processes.Server.connect", lambda server: None)
    server = job.serve("tls", dev, "--tls-cert-file", str(chain), "--tls-key-file", str(private))
    address = "https://localhost:" + server.facts["grpc_addr"].rpartition(":")[2]
    roots = grpc.ssl_channel_credentials(chain.read_bytes())
    with Verifier(address, credentials=roots) as verifier:
        verifier.ready(10)
        assert verifier.verify(alice.login().access_token).user_id == alice.id
    with Verifier(address) as verifier, pytest.raises(Unavailable, match="UNREACHABLE"):
        verifier.ready(1)


@pytest.mark.parametrize("address", ["", "ftp://localhost:1", "http://localhost:1/path", "http://"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError):
        Verifier(address)
    with pytest.raises(ValueError):
        Verifier([])
    with pytest.raises(ValueError):
        Verifier("http://localhost:1", credentials=grpc.ssl_channel_credentials())
