"""The subcommands beside a running server: `user`, `migrate`, `healthcheck`."""

import uuid

import pytest

from processes import wait_until
from reflected import expect
from secrets_seen import new_password


@pytest.fixture
def user(job, dev):
    """`countersign user`, on the database of `dev`."""

    def run(*arguments, stdin=""):
        return job.command("user", *arguments, stdin=stdin, COUNTERSIGN_DATABASE_URL=dev.facts["database_url"])

    return run


@pytest.fixture
def name(job):
    name = f"Dora-{uuid.uuid4().hex[:12]}"
    job.seen.add_private(name.lower())
    return name


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def failed(done):
    """One clear line, whatever was wrong."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("countersign: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_user_lives_on_the_command_line(client, user, name):
    password, other = new_password(), new_password()
    succeeded(user("add", name, "--role", "reader", "--role", "writer", "--password-stdin", stdin=f"{password}\n"))
    [line] = [line for line in succeeded(user("list")).splitlines() if name.lower() in line]
    assert "enabled" in line and "reader,writer" in line
    first = client.call("Login", username=name, password=password).tokens

    assert "1 sessions ended" in succeeded(user("passwd", name, "--password-stdin", stdin=other))
    ended(client, first)
    client.refused("INVALID_CREDENTIALS", "Login", username=name, password=password)
    second = client.call("Login", username=name, password=other).tokens

    succeeded(user("disable", name.upper()))
    ended(client, second)
    client.refused("INVALID_CREDENTIALS", "Login", username=name, password=other)
    succeeded(user("enable", name))
    third = client.call("Login", username=name, password=other).tokens

    succeeded(user("delete", name))
    ended(client, third)
    assert name.lower() not in succeeded(user("list"))
    client.refused("USER_NOT_FOUND", "GetUser", username=name)


def ended(client, tokens):
    """The command wrote to the database; the server learns of it within its bound."""
    refused = lambda: client.start("Verify", access_token=tokens.access_token).exception()
    expect("TOKEN_REVOKED", wait_until("the server learns of it", refused, 30))
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=tokens.refresh_token)


def test_what_cannot_be_done_is_said_in_one_line(user, name):
    password = new_password()
    succeeded(user("add", name, "--password-stdin", stdin=password))
    for wrong in (
        user("add", name.upper(), "--password-stdin", stdin=password),
        user("add", "two words", "--password-stdin", stdin=password),
        user("add", "somebody-else", "--password-stdin", stdin="short\n"),
        user("add", "somebody-else", "--password-stdin", stdin=""),
        user("add", "somebody-else", "--password-stdin", "--role", "two words", stdin=password),
        user("passwd", "nobody-of-this-name", "--password-stdin", stdin=password),
        user("disable", "nobody-of-this-name"),
        user("enable", "nobody-of-this-name"),
        user("delete", "nobody-of-this-name"),
    ):
        assert password not in failed(wrong)


def test_migrate_changes_nothing_that_is_up_to_date(job, dev):
    for _ in range(2):
        done = job.command("migrate", COUNTERSIGN_DATABASE_URL=dev.facts["database_url"])
        assert succeeded(done) == "0 migrations applied\n"


def test_healthcheck_says_whether_a_server_serves(job, dev, replica, stranger):
    for server in (dev, replica):
        assert succeeded(job.command("healthcheck", "--grpc-addr", server.facts["grpc_addr"])) == "serving\n"
    # Port 1 belongs to nobody.
    failed(job.command("healthcheck", "--grpc-addr", "127.0.0.1:1"))
    with stranger.frozen_database():
        wait_until("it stops serving", lambda: not stranger.client.is_serving(), 20)
        failed(job.command("healthcheck", "--grpc-addr", stranger.facts["grpc_addr"]))
    wait_until("it serves again", stranger.client.is_serving, 5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("--max-staleness", "1s"),
        ("--access-token-ttl", "2h"),
        ("--grpc-addr", "0.0.0.0:0"),
        ("--http-addr", "0.0.0.0:0"),
    ],
)
def test_dev_refuses_a_setting_that_is_not_safe(job, setting, value):
    data = job.dir / "refused"
    done = job.command("dev", "--data-dir", str(data), setting, value)
    assert setting.removeprefix("--") in failed(done)
    assert not data.exists()


def test_a_flag_that_is_empty_is_no_setting(job):
    data = job.dir / "refused"
    done = job.command("dev", "--data-dir", str(data), "--issuer", "")
    assert done.returncode == 2 and "--issuer is empty" in done.stderr and not data.exists()


def test_a_data_directory_has_one_owner(job, dev):
    addresses = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]
    done = job.command("dev", "--data-dir", str(dev.data), *addresses)
    assert str(dev.data) in failed(done)
    assert dev.client.is_serving()
