"""`countersign mesh selftest`: it proves that a proxy refuses what has ended, and says what is wrong with one that does not."""

import re
import signal
import subprocess
from subprocess import PIPE

import pytest

from actors import User
from processes import environment, free_port, wait_until
from told import TTL, Told


class Deaf(Told):
    """Its lists have names that Countersign does not know: as if it had refused them, or asked nobody for them."""

    def changed(self, config):
        return re.sub(r"- name: countersign-(recent|base|opened)", r"- name: nobody-has-\1", config)


@pytest.fixture(scope="module")
def source(job, dev):
    return job.serve("tested-by", dev, "--audience", "internal,billing", "--proxy-ttl", f"{TTL}s")


@pytest.fixture(scope="module")
def url(job, app, source):
    """A proxy that is as it should be."""
    proxy = Told(job, app, [source.facts["grpc_addr"]])
    yield f"http://127.0.0.1:{proxy.port}/orders"
    proxy.end()


@pytest.fixture(scope="module")
def url_of_others(job, app):
    """A proxy that takes tokens of another issuer."""
    server = job.dev("of-another-issuer", "--issuer", "https://another.example")
    proxy = Told(job, app, [server.facts["grpc_addr"]])
    yield f"http://127.0.0.1:{proxy.port}/orders"
    proxy.end()


@pytest.fixture(scope="module")
def canary(client):
    return User(client, "canary")


def command(source, user, url, *more):
    addr = f"127.0.0.1:{free_port()}" if source is None else source.facts["grpc_addr"]
    return ["mesh", "selftest", "--proxy", url, "--countersign", f"http://{addr}", "--username", user.name, *more]


def selftest(job, source, user, url, *more, password=None):
    """Its exit code, and what it prints: never a secret."""
    done = job.command(*command(source, user, url, *more), stdin=(password or user.password) + "\n")
    printed = done.stdout + done.stderr
    assert job.seen.found_in(printed) == [] and "eyJ" not in printed and user.password not in printed
    return done.returncode, printed


def test_a_proxy_that_refuses_what_has_ended(job, url, source, canary, tmp_path):
    password = tmp_path / "password"
    password.write_text(canary.password)
    password.chmod(0o600)
    code, said = selftest(job, source, canary, url, "--password-file", str(password), password="-")
    print(said)
    assert code == 0 and re.fullmatch(r"refused \d+\.\d ms after Revoke was answered\n", said), said
    assert canary.session_ids() == []
    assert selftest(job, source, canary, url, "--audience", "internal")[0] == 0


def test_a_proxy_whose_lists_do_not_come(job, app, source, canary):
    proxy = Deaf(job, app, [source.facts["grpc_addr"]], "--fail", "open")
    try:
        code, said = selftest(job, source, canary, f"http://127.0.0.1:{proxy.port}/orders", "--within", "2s")
        assert code == 1 and "proxy: it answered 200 with a token whose session had ended 2s before" in said, said
        assert canary.session_ids() == []
    finally:
        proxy.end()


def test_a_refusal_that_may_be_the_expiry_of_the_token_proves_nothing(job, app, dev, canary):
    """Its lists do not come, and it refuses the token in the end all the same."""
    hasty = job.serve("of-short-lives", dev, "--audience", "internal,billing", "--access-token-ttl", "10s")
    proxy = Deaf(job, app, [hasty.facts["grpc_addr"]], "--fail", "open")
    try:
        code, said = selftest(job, hasty, canary, f"http://127.0.0.1:{proxy.port}/orders", "--within", "40s")
        assert code == 1 and "which proves nothing: let tokens live longer" in said, said
        assert canary.session_ids() == []
    finally:
        proxy.end()


def test_a_url_that_is_open_to_everybody(job, url, source, canary):
    code, said = selftest(job, source, canary, url.replace("orders", "public"))
    assert code == 1 and "proxy: it answered 200 without a token: the URL is open to everybody" in said, said


def test_a_proxy_that_refuses_everything(job, url_of_others, source, canary):
    code, said = selftest(job, source, canary, url_of_others, "--within", "1s")
    assert code == 1 and "proxy: it answered 401 with a new token, for 1s" in said, said
    assert canary.session_ids() == []


def test_a_proxy_that_is_away(job, source, canary):
    code, said = selftest(job, source, canary, f"http://127.0.0.1:{free_port()}/orders")
    assert code == 1 and "refused the connection" in said and "look whether the proxy runs" in said, said


def test_a_wrong_password(job, url, source, canary):
    code, said = selftest(job, source, canary, url, password="not this one")
    assert code == 1 and "login: Countersign refuses it: INVALID_CREDENTIALS" in said, said


def test_countersign_is_away(job, url, canary):
    code, said = selftest(job, None, canary, url)
    assert code == 1 and "login: " in said and "refused the connection" in said, said


def test_it_leaves_no_session_when_it_is_stopped(job, url_of_others, source, canary):
    words = [job.binary, *command(source, canary, url_of_others, "--within", "1h")]
    test = subprocess.Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=environment())
    test.stdin.write(canary.password + "\n")
    test.stdin.flush()
    wait_until("it has logged in", canary.session_ids, 30)
    test.send_signal(signal.SIGTERM)
    _, said = test.communicate(timeout=30)
    assert test.returncode == 1 and "selftest: it was stopped" in said, said
    assert canary.session_ids() == []
