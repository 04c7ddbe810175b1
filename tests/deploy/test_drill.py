"""The drill of an operator: four faults, each made in a deployment of its own, under load. Metrics, alerts and the status page say
which one it is, and that it is over when it is mended.

The four run side by side, because the page looks back a minute. The rules and alerts are those of deploy/monitoring with time that
runs thirty times as fast: five minutes are ten seconds. With COUNTERSIGN_DRILL_PICTURES, the name of a folder, pictures are left
there.
"""

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import drawn
from chromium import Chromium
from files import MONITORING
from processes import Job, wait_until
from prometheus import Prometheus
from world import World

FASTER = 30
PATIENT = 180

STALE = "countersign_revocation_freshness_age_seconds > countersign_revocation_freshness_bound_seconds"
FRESH = STALE.replace(">", "<")
UNANSWERED = r"The database does not answer"
REFUSES = r"What is known of revocations is \d+ s old: Verify refuses \(the bound is 10 s\)"


@dataclass(frozen=True)
class Fault:
    # True, by the metrics alone, for this fault and no other.
    sign: str
    # The alerts that wait for their time or fire, and those that have to fire among them.
    raised: frozenset
    fire: frozenset
    # What the pages of the two replicas say is wrong.
    pages: tuple
    # How it is made, and mended.
    make: object


FAULTS = {
    "database-frozen": Fault(
        # No replica is fresh, and heartbeats fail.
        sign=f"count by (job) ({STALE}) == 2 and on (job) sum by (job) (increase(countersign_revocation_follow_failures_total[10s])) > 0",
        raised=frozenset({"ReplicaStale", "AllReplicasStale", "DatabaseUnavailable", "Errors", "ManyErrors"}),
        fire=frozenset({"AllReplicasStale", "DatabaseUnavailable", "ManyErrors"}),
        pages=({REFUSES, UNANSWERED}, {REFUSES, UNANSWERED}),
        make=World.frozen_database,
    ),
    "replica-cut-off": Fault(
        # One replica is not fresh; another one is, and sees one that is silent.
        sign=f'count by (job) ({STALE}) == 1 and on (job) (countersign_replicas{{state="silent"}} == 1 and on (job, instance) {FRESH})',
        raised=frozenset({"ReplicaStale", "ReplicaCutOff", "Errors", "ManyErrors"}),
        fire=frozenset({"ReplicaStale", "ReplicaCutOff", "ManyErrors"}),
        pages=({r"1 replica has been silent"}, {REFUSES, UNANSWERED}),
        make=World.cut_off,
    ),
    "login-flood": Fault(
        sign="""sum by (job) (increase(countersign_logins_total{result=~"invalid_credentials|throttled"}[10s]))
            > 5 * sum by (job) (increase(countersign_logins_total{result="ok"}[10s]))""",
        raised=frozenset({"LoginFlood"}),
        fire=frozenset({"LoginFlood"}),
        pages=({r"[\d.]+ logins a second are refused, [\d.]+ go well"},) * 2,
        make=World.flood,
    ),
    "key-damaged": Fault(
        sign="min by (job) (countersign_keys_unusable) == 1",
        raised=frozenset({"KeyUnusable"}),
        fire=frozenset({"KeyUnusable"}),
        pages=({r"1 stored key cannot be opened"},) * 2,
        make=World.damaged_key,
    ),
}


def in_threads(work, names):
    """What `work` gives for each name; all at once."""
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(work, names)))


def faster(text):
    """Rules whose durations are a thirtieth."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    duration = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]|(?<=for: )\d+[smhd]")
    return duration.sub(lambda found: f"{int(found[0][:-1]) * seconds[found[0][-1]] * 1000 // FASTER}ms", text)


@pytest.fixture(scope="module")
def worlds(binary):
    job = Job(binary)
    worlds = in_threads(lambda name: World(job, name), list(FAULTS))
    yield worlds
    in_threads(lambda name: worlds[name].end(), list(worlds))
    job.finish()


@pytest.fixture(scope="module")
def prometheus(worlds, folder):
    files = [folder / name for name in ("rules.yaml", "alerts.yaml")]
    for file in files:
        file.write_text(faster((MONITORING / file.name).read_text()))
    jobs = {f"countersign-{name}": world.targets() for name, world in worlds.items()}
    prometheus = Prometheus(folder / "drill", jobs, files)
    yield prometheus
    prometheus.end()


class Pictures:
    """Leaves pictures in a folder, if there is one, of a browser that the drills share."""

    def __init__(self, folder):
        self.into = os.environ.get("COUNTERSIGN_DRILL_PICTURES")
        self.one_at_a_time = threading.Lock()
        self.folder = folder
        self.browser = Chromium(folder) if self.into else None

    def take(self, name, url, size):
        if self.browser:
            with self.one_at_a_time:
                self.browser.resize(*size)
                self.browser.go(url)
                self.browser.screenshot(Path(self.into) / f"{name}.png")

    def end(self):
        if self.browser:
            self.browser.end()


@pytest.fixture(scope="module")
def pictures(folder):
    pictures = Pictures(folder)
    yield pictures
    pictures.end()


class Drill:
    """One fault in its world."""

    def __init__(self, name, world, prometheus, pictures):
        self.name, self.fault, self.world, self.prometheus, self.pictures = name, FAULTS[name], world, prometheus, pictures
        self.job = f"countersign-{name}"

    def run(self):
        wait_until(f"{self.name}: all is well before", self.is_well, PATIENT)
        begun = time.time()
        with self.fault.make(self.world):
            wait_until(f"{self.name} is told", self.is_told, PATIENT)
            self.keep(begun)
        wait_until(f"{self.name}: all is well again", self.is_well, PATIENT)

    def signs(self):
        """The faults of which the metrics show the signs."""
        found = {name: self.prometheus.query(fault.sign) for name, fault in FAULTS.items()}
        return {name for name, results in found.items() if any(it["metric"]["job"] == self.job for it in results)}

    def alerts(self):
        """The alerts that wait for their time or fire, and those that fire."""
        alerts = [it for it in self.prometheus.ask("alerts")["alerts"] if it["labels"].get("job") == self.job]
        names = [(it["labels"]["alertname"].removeprefix("Countersign"), it["state"]) for it in alerts]
        return {name for name, _ in names}, {name for name, state in names if state == "firing"}

    def is_well(self):
        self.seen = (self.signs(), self.alerts(), [self.world.findings(place) for place in range(2)])
        return self.seen == (set(), (set(), set()), [[], []]) and all(map(self.world.is_well, range(2)))

    def is_told(self):
        raised, firing = self.alerts()
        pages = [self.world.findings(place) for place in range(2)]
        self.seen = (self.signs(), raised, firing, pages)
        told = all(says(page, wanted) for page, wanted in zip(pages, self.fault.pages))
        return told and self.signs() == {self.name} and raised == self.fault.raised and firing >= self.fault.fire

    def keep(self, fault):
        """Looks at the dashboard as it is now, and keeps pictures."""
        begin, end = max(fault - 30, self.prometheus.started), time.time()
        panels = drawn.read(self.prometheus.ask, self.job, begin, end)
        # Nothing but this needs calls that failed.
        assert drawn.empty(panels) <= {"Calls that failed, by code"}
        for name, target in self.world.targets().items():
            self.pictures.take(f"{self.name}-{name}", f"http://{target}/status", (900, 860))
        file = self.pictures.folder / f"{self.name}.html"
        file.write_text(drawn.page(f"Panels of the dashboard: {self.name.replace('-', ' ')}", panels, begin, end, fault))
        self.pictures.take(f"{self.name}-dashboard", file.as_uri(), (drawn.WIDTH, drawn.HEIGHT + 143))


def says(page, wanted):
    """True if each finding of the page is wanted, and each that is wanted is there."""
    return len(page) == len(wanted) and all(any(re.fullmatch(it, finding) for finding in page) for it in wanted)


@pytest.fixture(scope="module")
def drills(worlds, prometheus, pictures):
    """The drills, which run side by side."""
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        drills = {name: Drill(name, world, prometheus, pictures) for name, world in worlds.items()}
        yield {name: (drill, pool.submit(drill.run)) for name, drill in drills.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_metrics_alerts_and_page_tell_which_fault_it_is_and_when_it_is_over(drills, name):
    drill, done = drills[name]
    try:
        done.result()
    except AssertionError as error:
        raise AssertionError(f"{error}; seen last: {drill.seen}") from None
