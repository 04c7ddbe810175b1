"""The subcommand `keys` beside running servers, and PyJWT as a verifier that knows nothing but the issuer's URL."""

import json
import urllib.request

import jwt
import pytest

from actors import User
from processes import wait_until
from reflected import read
from test_commands import failed, succeeded


@pytest.fixture(scope="module")
def home(job):
    """A deployment of its own, because keys are killed here."""
    return job.dev("keys", "--max-staleness", "4s")


@pytest.fixture(scope="module")
def second(job, home):
    return job.serve("keys-second", home, "--max-staleness", "4s")


@pytest.fixture(scope="module")
def erin(home):
    return User(home.client, "erin")


@pytest.fixture
def keys(job, home):
    """`countersign keys`, on the database of `home`."""

    def run(*arguments, master_key=None, **settings):
        settings["COUNTERSIGN_DATABASE_URL"] = home.facts["database_url"]
        if master_key is None:
            settings.setdefault("COUNTERSIGN_MASTER_KEY_FILE", home.facts["master_key_file"])
        else:
            settings["COUNTERSIGN_MASTER_KEY"] = master_key
        return job.command("keys", *arguments, **settings)

    return run


def listed(keys, purpose, stage):
    """The names of the keys of a purpose in a stage."""
    rows = [line.split() for line in succeeded(keys("list")).splitlines()]
    return [row[1] for row in rows if (row[0], row[3]) == (purpose, stage)]


def fetch(server, path):
    with urllib.request.urlopen(f"http://{server.facts['http_addr']}/.well-known/{path}", timeout=5) as answer:
        return json.load(answer)


def verify_as_others_do(server, token):
    """By discovery: where the keys are, and which algorithms to allow."""
    metadata = fetch(server, "openid-configuration")
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    allowed = metadata["id_token_signing_alg_values_supported"]
    return jwt.decode(token, key, algorithms=allowed, audience="internal", issuer=metadata["issuer"])


def test_each_kind_of_keys_has_one_that_signs_and_the_next(keys, home, erin):
    for purpose in ("access_token", "refresh_token"):
        assert len(listed(keys, purpose, "active")) == len(listed(keys, purpose, "next")) == 1
    published = {key["kid"] for key in fetch(home, "jwks.json")["keys"]}
    assert published == {*listed(keys, "access_token", "active"), *listed(keys, "access_token", "next")}
    assert {key["kid"] for key in json.loads(home.client.call("GetJwks").jwks)["keys"]} == published
    assert verify_as_others_do(home, erin.login().access_token)["sub"] == erin.id


def test_a_key_does_not_sign_before_verifiers_have_it(keys):
    before = succeeded(keys("list"))
    for purpose in ("access_token", "refresh_token"):
        assert "may not have the next key yet" in failed(keys("rotate", "--purpose", purpose))
    assert keys("rotate", "--purpose", "everything").returncode == 2
    assert listed(keys, "access_token", "active")[0] in before


def kill(keys, kid, *settings):
    assert f"killed {kid}" in succeeded(keys("kill", kid, *settings))


def learns_of_it(client, token):
    def reason():
        error = client.start("Verify", access_token=token).exception()
        return error and read(error).reason

    wait_until("it learns of it", lambda: reason() == "TOKEN_REVOKED", 30)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_killed_key_is_dead_everywhere_and_the_next_key_may_be_of_another_algorithm(
    keys, home, second, erin, algorithm
):
    for _ in range(5):
        token = erin.login().access_token
        kid = jwt.get_unverified_header(token)["kid"]
        # Without a next key one is made at once, by the settings of the command.
        for waiting in listed(keys, "access_token", "next"):
            kill(keys, waiting)
        kill(keys, kid, "--signing-algorithm", algorithm)
        for client in (home.client, second.client):
            learns_of_it(client, token)
        assert kid not in {key["kid"] for key in fetch(second, "jwks.json")["keys"]}
        token = second.client.call("Login", username=erin.name, password=erin.password).tokens.access_token
        home.client.call("Verify", access_token=token)
        assert verify_as_others_do(home, token)["sub"] == erin.id
        if jwt.get_unverified_header(token)["alg"] == algorithm:
            return
    raise AssertionError(f"no key of {algorithm} was made")


def test_nothing_is_killed_by_a_wrong_name(keys):
    before = succeeded(keys("list")).count("killed")
    for wrong in ("", "nonsense", listed(keys, "access_token", "killed")[0]):
        assert "no living key" in failed(keys("kill", wrong))
    assert succeeded(keys("list")).count("killed") == before


def test_a_master_key_is_replaced_while_servers_run(job, keys, home, erin):
    tokens = erin.login()
    fresh = succeeded(keys("generate-master"))
    assert fresh.count("\n") == 1 and len(fresh) == 45
    with open(home.facts["master_key_file"]) as file:
        old = file.read()
    job.seen.add(fresh.strip())
    assert "none of its keys opens" in failed(keys("reseal", master_key=fresh))
    assert " 0 keys" not in succeeded(keys("reseal", master_key=fresh + old))
    assert succeeded(keys("reseal", master_key=fresh)).startswith("0 keys moved")
    # The server that runs has opened its keys long ago.
    home.client.call("Verify", access_token=tokens.access_token)
    list_file = job.dir / "master-list"
    list_file.write_text(fresh + old)
    facts = home.facts | {"master_key_file": str(list_file)}
    third = job.serve("keys-third", type("Home", (), {"facts": facts}), "--max-staleness", "4s")
    third.client.call("Verify", access_token=tokens.access_token)
    # And back, so that `home` can be stopped and started.
    assert " 0 keys" not in succeeded(keys("reseal", master_key=old + fresh))


def test_a_master_key_that_is_wrong_short_missing_or_given_twice_is_said_in_one_line(job, keys, home):
    right = home.facts["master_key_file"]
    database = {"COUNTERSIGN_DATABASE_URL": home.facts["database_url"]}
    with open(right) as file:
        value = file.read()
    for says, done in [
        ("COUNTERSIGN_MASTER_KEY", job.command("keys", "reseal", **database)),
        ("line 1", keys("reseal", master_key="c2hvcnQ=")),
        # A variable that holds spaces alone is none.
        ("needed", keys("reseal", master_key="\n")),
        ("No such file", keys("reseal", COUNTERSIGN_MASTER_KEY_FILE="/nonexistent")),
        ("not together", keys("reseal", "--master-key-file", right, master_key=value)),
        ("generate-master", job.command("serve", "--plaintext", **database)),
    ]:
        line = failed(done)
        assert says in line and value.strip() not in line, line
