"""How soon a proxy refuses what was revoked at another replica, and what it costs the replica that tells it."""

import http.client
import pathlib
import statistics
import subprocess
import sys
import time

from actors import User
from common import environment, number, table
from processes import wait_until
from proxies import free_port
from reflected import Client
from secrets_seen import Seen
from test_told_many import revoke_unknown
from told import Told

HERE = pathlib.Path(__file__).parent
# A list of so many entries has these bytes; from 1000 on they are put into a base.
ENTRIES, ENTRY_BYTES = 760, 38
SPACING = 0.06
# Of which the median counts.
RUNS = 3


class Replica:
    """A running `serve` beside a `dev`."""

    def __init__(self, binary, facts):
        self.addr = f"127.0.0.1:{free_port()}"
        command = [binary, "serve", "--database-url", facts["database_url"]]
        command += ["--master-key-file", facts["master_key_file"], "--lame-duck", "0s"]
        command += ["--grpc-addr", self.addr, "--http-addr", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, env=environment())
        wait_until("the replica is well", Client(self.addr, Seen()).is_serving, 30)

    def end(self):
        self.process.terminate()
        self.process.wait()


class Subscribers:
    """A process with so many proxies that are told by this address."""

    def __init__(self, addr, count):
        command = [sys.executable, HERE / "subscribers.py", addr, str(count)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def seen(self):
        """The lists that they have taken in all, and the bytes of the last one."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return map(int, self.process.stdout.readline().split())

    def fill(self, client):
        """Ends sessions until there is a new base, and then until most of the room for recent ones is taken."""
        before, size = 0, 1
        while before <= size:
            before, size = size, self.after(client, 100)
        while size < ENTRIES * ENTRY_BYTES:
            size = self.after(client, 20)

    def after(self, client, count):
        revoke_unknown(client, count)
        time.sleep(0.3)
        return list(self.seen())[1]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def cpu(process):
    """Seconds of processor time of a process; the same as utime and stime in its `stat`, but exact."""
    return time.clock_gettime(~process.pid << 3 | 2)


def times_to_refusal(proxy, client, count, wait):
    """Milliseconds from the answer of Revoke to the first refusal, by one connection that asks on and on."""
    user = User(client, "dora", roles=["reader"])
    sessions = [user.login() for _ in range(count)]
    connection, times = http.client.HTTPConnection("127.0.0.1", proxy.port), []

    def status(tokens):
        connection.request("GET", "/orders", headers={"authorization": f"Bearer {tokens.access_token}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    wait_until("a token passes", lambda: status(sessions[-1]) == 200, 30)
    for tokens in sessions:
        assert status(tokens) == 200
        client.call("Revoke", session_id=tokens.session_id, **({} if wait else {"wait": {"nanos": 1}}))
        answered = time.perf_counter()
        while status(tokens) != 401:
            assert time.perf_counter() - answered < 10
        times.append((time.perf_counter() - answered) * 1000)
    return sorted(times)


def cost(client, replica, count, revocations):
    """Processor time of the replica for so many revocations apart, and the lists that its subscribers took."""
    subscribers = Subscribers(replica.addr, count) if count else None
    try:
        if subscribers:
            subscribers.fill(client)
        pushed, before = next(subscribers.seen()) if subscribers else 0, cpu(replica.process)
        for _ in range(revocations):
            revoke_unknown(client, 1)
            time.sleep(SPACING)
        spent = cpu(replica.process) - before
        return spent, next(subscribers.seen()) - pushed if subscribers else 0
    finally:
        if subscribers:
            subscribers.end()


def pushes(options, directory, dev, application, job, running):
    """A table of the times, and one of the cost."""
    client = Client(dev.facts["grpc_addr"], Seen())
    replica = Replica(options.binary.resolve(), dev.facts)
    running.append(replica)
    idle = statistics.median(cost(client, replica, 0, options.revocations)[0] for _ in range(RUNS))
    rows = []
    for count in (1, 50):
        runs = [cost(client, replica, count, options.revocations) for _ in range(RUNS)]
        each = statistics.median((spent - idle) / pushed for spent, pushed in runs)
        took = statistics.median(pushed / count for _, pushed in runs)
        rows.append([count, number(took), number(1000 * idle / options.revocations), number(each * 1000)])
    head = ["proxies", f"pushes to each for {options.revocations} revocations"]
    costs = table([*head, "CPU for each revocation without proxies, ms", "CPU for each push and proxy, ms"], rows)
    proxy = Told(job, application, [replica.addr])
    running.append(proxy)
    rows = []
    for how, wait in (("Revoke waits for the replicas", True), ("Revoke waits for nobody", False)):
        times = times_to_refusal(proxy, client, options.times, wait)
        share = lambda part, times=times: number(times[min(len(times) - 1, int(len(times) * part))])
        rows.append([how, len(times), share(0.5), share(0.9), share(0.99), number(times[-1])])
    return table(["", "revocations", "p50, ms", "p90, ms", "p99, ms", "longest, ms"], rows) + "\n\n" + costs
