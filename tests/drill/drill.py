"""What operators see of Countersign when Patroni moves its database, and whether any answer is wrong.

    drill.py BINARY [--short] [--keep] [--by KINDS] [--bound 4s] [scenario...]

Scenarios, on one running set of etcd, Patroni, haproxy and replicas, with a load all the time:

    lives       Patroni's agent at the primary is stopped. Its lock expires and the standby is promoted; the old primary lives,
                accepts connections, and keeps those of its clients. Then the agent goes on, and makes it a standby.
    freezes     the primary's machine stands still, agent and Postgres, and a standby is promoted. Postgres goes on first: it
                still takes itself for the primary, and answers what it was asked before. The agent follows.
    switchover  as an operator asks Patroni for it.
    kill        the primary and its agent are gone at once; the node comes back as a standby.

Each is run with replicas that reach the database by haproxy, which keeps connections to the old primary ("keeps") or ends
them (on-marked-down shutdown-sessions, "kills"), or by a URL that names all nodes ("direct").
"""

import argparse
import signal
import sys
import time

from cluster import LOOP_WAIT, RETRY_TIMEOUT, TTL, Cluster, Directory, Service, send
from load import Load, table
from processes import children, wait_until

# How long the old primary lives beside the new one: longer than the bound and the quarantine together.
LIVES = 10
MOVES_WITHIN, RECOVERS_WITHIN = 60, 90


class Drill:
    def __init__(self, cluster, service):
        self.cluster, self.service = cluster, service
        self.failures = []

    def say(self, what):
        print(f"  {time.monotonic() - self.start:5.1f} s  {what}", flush=True)

    def moved(self, old):
        new = wait_until("another primary", lambda: self.cluster.leader(but=old), MOVES_WITHIN)
        self.say(f"{new.name} is the primary")
        return new

    def lives(self):
        old = self.cluster.leader()
        send(old.patroni.pid, signal.SIGSTOP)
        try:
            self.say(f"the agent of {old.name}, the primary, is stopped")
            self.moved(old)
            self.still_a_primary(old)
            for _ in range(2):
                time.sleep(LIVES / 2)
                self.still_a_primary(old)
        finally:
            send(old.patroni.pid, signal.SIGCONT)
        self.say(f"the agent of {old.name} goes on")

    def freezes(self):
        old = self.cluster.leader()
        postmaster = old.postmaster()
        # The agent's children are short-lived, and it starts none while it is stopped.
        send(old.patroni.pid, signal.SIGSTOP)
        send(postmaster, signal.SIGSTOP)
        stopped = children(postmaster)
        for pid in stopped:
            send(pid, signal.SIGSTOP)
        try:
            self.say(f"{old.name}, the primary, stands still")
            self.moved(old)
            time.sleep(LIVES / 3)
            for pid in (postmaster, *stopped):
                send(pid, signal.SIGCONT)
            self.say(f"Postgres of {old.name} goes on")
            self.still_a_primary(old)
            time.sleep(LIVES / 3)
            self.still_a_primary(old)
        finally:
            for pid in (postmaster, *stopped, old.patroni.pid):
                send(pid, signal.SIGCONT)
        self.say(f"the agent of {old.name} goes on")

    def still_a_primary(self, node):
        clients = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        facts = node.sql(
            "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,"
            f" (SELECT count(*) {clients}), (SELECT count(*) {clients} AND wait_event = 'SyncRep')"
        ).split("|")
        if facts[0] != "primary":
            raise AssertionError(f"{node.name} should still be a primary: {facts}")
        self.say(f"{node.name} still is a primary, with {facts[1]} clients, of whom {facts[2]} wait for a standby")

    def switchover(self):
        old, new = self.cluster.leader(), self.cluster.synchronous_standby()
        self.say(f"switchover from {old.name} to {new.name}")
        old.ask("/switchover", {"leader": old.name, "candidate": new.name}, timeout=60)
        self.moved(old)

    def kill(self):
        old = self.cluster.leader()
        old.kill()
        self.say(f"{old.name}, the primary, was killed")
        self.moved(old)
        time.sleep(3)
        old.start()
        self.say(f"{old.name} comes back")

    def run(self, name, kinds, load):
        print(f"\n=== {name}, replicas by {' and '.join(kinds)}", flush=True)
        self.start = time.monotonic()
        try:
            wait_until("the load is served", load.is_well, RECOVERS_WITHIN)
            self.start = time.monotonic()
            getattr(self, name)()
            self.cluster.wait_for_health(RECOVERS_WITHIN)
            self.say("one primary and two standbys")
            wait_until("all is served again", load.is_well, RECOVERS_WITHIN)
            self.say("all is served, and nothing was refused for 1.5 s")
        except AssertionError as failure:
            self.failures.append(f"{name}: {failure}")
            print(f"!!! {failure}", flush=True)
        print(table(load.since(self.start), load.replicas, self.start, time.monotonic()), flush=True)

    def run_all(self, kinds, names):
        self.service.start(kinds)
        load = Load(self.service.replicas, self.service.admin_token)
        try:
            for name in names:
                self.run(name, kinds, load)
        finally:
            load.stop()
        wrong = len(load.wrong())
        self.failures += [f"{wrong} wrong answers, replicas by {' and '.join(kinds)}"] * bool(wrong)
        print(f"\n{len(load.events)} answers, {wrong} wrong; {len(load.ended)} sessions ended", flush=True)


def main():
    scenarios = ("lives", "switchover", "kill", "freezes")
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--short", action="store_true", help="what CI runs")
    parser.add_argument("--keep", action="store_true", help="keep logs and data")
    parser.add_argument("--by", action="append", help="how the replicas reach the database, as keeps,direct")
    parser.add_argument("--bound", default="4s", help="COUNTERSIGN_MAX_STALENESS; 4s")
    parser.add_argument("scenario", nargs="*", help="of " + ", ".join(scenarios))
    arguments = parser.parse_intermixed_args()
    names = arguments.scenario or (("lives", "switchover") if arguments.short else scenarios)
    by = arguments.by or (["keeps,direct"] if arguments.short else ["keeps,keeps", "keeps,direct", "kills,kills"])
    # What was started has to be ended when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begun = time.monotonic()
    directory = Directory()
    failures = ["it was broken off"]
    try:
        cluster = Cluster(directory)
        drill = Drill(cluster, Service(directory, cluster, arguments.binary, arguments.bound))
        print(f"Patroni: ttl {TTL} s, loop_wait {LOOP_WAIT} s, retry_timeout {RETRY_TIMEOUT} s; replicas: bound {arguments.bound}")
        print(f"started in {time.monotonic() - begun:.1f} s")
        for kinds in by:
            drill.run_all(kinds.split(","), names)
        failures = drill.failures
    finally:
        directory.remove()
        if failures or arguments.keep:
            print(f"logs and data are in {directory.path}")
        else:
            directory.forget()
    for failure in failures:
        print(failure)
    print(f"\n{'FAILED' if failures else 'No wrong answer'}, {time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
