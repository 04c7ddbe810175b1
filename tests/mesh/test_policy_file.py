"""The route policy of a policy file: at a start and when it changes."""

import pytest

from asked import allowed, ask, bearer
from conftest import POLICY
from processes import wait_until
from proxies import Envoy, HttpService, port_of

BROKEN = POLICY + '\n[[routes]]\npath = "/late"\nacces = "public"\n'
LINE = 1 + BROKEN[: BROKEN.index("acces =")].count("\n")
OPEN = '[[routes]]\npath = "/late"\naccess = "public"\n\n' + POLICY


@pytest.fixture
def serve(job, dev):
    """Runs `serve` to its end, which comes at once when it is refused."""

    def serve(*settings):
        facts = dev.facts
        database = ["--database-url", facts["database_url"], "--master-key-file", facts["master_key_file"]]
        ports = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]
        return job.command("serve", *database, *ports, *settings)

    return serve


def test_a_broken_file_is_refused_at_the_start_with_its_line(job, serve):
    file = job.dir / "broken.toml"
    file.write_text(BROKEN)
    done = serve("--policy-file", str(file), "--forward-auth", "path")
    assert done.returncode == 1 and f"{file}:{LINE}" in done.stderr and "acces" in done.stderr, done
    done = job.command("policy", "check", str(file))
    assert done.returncode == 1 and f":{LINE}" in done.stdout + done.stderr, done


def test_rules_need_a_proxy_that_names_requests(job, serve, policy_file):
    done = serve("--policy-file", str(policy_file), "--forward-auth", "token")
    assert done.returncode == 1 and "forward-auth" in done.stderr, done


def test_a_new_file_is_in_force_and_a_broken_one_is_not(start, by_name, policy_file, token):
    server = by_name("path")
    proxy = start(HttpService, server)
    direct = port_of(server.facts["http_addr"])
    try:
        assert ask(proxy.port, "/late").status == 401
        policy_file.write_text(OPEN)
        wait_until("the new file is in force", lambda: ask(proxy.port, "/late").status == 200, 30)
        policy_file.write_text(BROKEN)
        wait_until("the log says what is wrong", lambda: f"{policy_file}:{LINE}" in server.err.read_text(), 30)
        # The rules of before are those that count.
        assert ask(proxy.port, "/late").status == 200
        assert ask(proxy.port, "/staff", bearer(token)).status == 403
        assert ask(direct, "/forward-auth/late").status == 200
        policy_file.unlink()
        policy_file.write_text(POLICY)
        wait_until("the first file is in force again", lambda: ask(proxy.port, "/late").status == 401, 30)
    finally:
        policy_file.write_text(POLICY)


def test_a_proxy_that_may_not_ask_lets_nobody_in(job, dev, start, alice, token):
    """A list of callers is for proxies too. Users are not logged out because their proxy is not listed."""
    file = job.dir / "callers.toml"
    entry = '[[callers]]\nid = "anyone"\nrpcs = ["{}"]\n'
    file.write_text(entry.format("Authorization/Check"))
    server = job.serve("callers", dev, "--policy-file", str(file))
    envoy = start(Envoy, server)
    allowed(ask(envoy.port, "/orders", bearer(token)), alice)
    file.write_text(entry.format("Verify"))
    answer = wait_until("the list is in force", lambda: not_let_in(ask(envoy.port, "/orders", bearer(token))), 30)
    assert answer.status == 503, answer


def not_let_in(answer):
    return answer if answer.status != 200 else None
