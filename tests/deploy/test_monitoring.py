"""Rules, alerts and dashboard: all that they name exists on a server that runs, and Prometheus takes them as they are."""

import json
import re
import subprocess

import pytest

from conftest import wait_until
from files import MONITORING, ROOT, alerts, anchors, dashboard, dashboard_expressions, panels, read_yaml, rules, selectors
from processes import frozen
from prometheus import Prometheus

# What Prometheus itself makes.
OF_PROMETHEUS = {"up"}
VARIABLES = {"$job": ".+", "$instance": ".+", "$__rate_interval": "1m"}


def exposed(exposition):
    """The names that the server exposes, each with the values of its labels."""
    found = {}
    for line in exposition.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"([\w:]+)(\{.*\})?", line).groups()
            values = found.setdefault(name, {})
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels or ""):
                values.setdefault(label, set()).add(value)
    return found


def all_expressions():
    named = [(rule["record"], rule["expr"]) for rule in rules()] + [(rule["alert"], rule["expr"]) for rule in alerts()]
    annotations = [(a["name"], a["expr"]) for a in dashboard()["annotations"]["list"] if "expr" in a]
    return named + dashboard_expressions() + annotations


def test_selectors_are_found():
    text = 'sum by (job, a_b) (rate(x_total{le="up",c=~"$v|y{"}[5m])) / on (job) y:z unless (0.5 * w offset 1h) or absent(up)'
    assert [name for name, _ in selectors(text)] == ["x_total", "y:z", "w", "up"]
    assert selectors(text)[0][1] == {"le": "up"}


def test_each_metric_that_is_named_exists(exposition):
    """With the values of labels that it is asked for."""
    known, recorded = exposed(exposition), {rule["record"] for rule in rules()}
    codes = set(re.findall(r'"(\w+)",', (ROOT / "src/metrics/calls.rs").read_text()))
    wrong = []
    for where, expression in all_expressions():
        assert selectors(expression), expression
        for name, matchers in selectors(expression):
            if name in recorded | OF_PROMETHEUS:
                continue
            if name not in known:
                wrong.append(f"{where}: {name}")
            for label, value in matchers.items():
                # A code is exposed once a call has ended with it.
                there = codes if label == "grpc_code" else known.get(name, {}).get(label, set())
                if label not in ("job", "instance") and value not in there:
                    wrong.append(f"{where}: {name} has no {label} {value!r}")
    assert wrong == []


def test_each_metric_is_shown(exposition):
    """What nobody looks at need not be measured."""
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for _, expr in dashboard_expressions() for name, _ in selectors(expr)}
    names = set(re.findall(r"^# TYPE (\S+)", exposition, flags=re.M))
    assert names - shown == {"process_threads", "process_virtual_memory_bytes"}


def test_promtool_accepts_what_is_exposed(exposition):
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_alert_says_what_is_wrong_and_what_to_do():
    headings = anchors((ROOT / "docs/operations.md").read_text())
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert
        document, anchor = alert["annotations"]["runbook_url"].split("#")
        assert document == "docs/operations.md" and anchor in headings, alert
        assert alert["annotations"]["summary"] and alert["annotations"]["description"], alert
    assert len({alert["alert"] for alert in alerts()}) == len(alerts())


def test_each_alert_is_tested_firing_and_silent():
    seen = {}
    for test in read_yaml(MONITORING / "alerts_test.yaml")["tests"]:
        moments = test["promql_expr_test"]
        fired = [{re.search(r'alertname="(\w+)"', s["labels"]).group(1) for s in m["exp_samples"]} for m in moments]
        for name in set().union(*fired):
            # Silent, and later firing: within one story.
            silent = next((i for i, names in enumerate(fired) if name not in names), None)
            firing = any(name in names for names in fired[silent + 1 :]) if silent is not None else False
            seen[name] = seen.get(name, False) or firing
    # Where it fires from the beginning of its story, another story has it silent.
    from_the_beginning = {"CountersignAllReplicasStale", "CountersignClockDistance"}
    assert set(seen) == {alert["alert"] for alert in alerts()}
    assert {name for name, both in seen.items() if not both} <= from_the_beginning


def test_the_dashboard_is_consistent():
    board = dashboard()
    every = [panel for outer in board["panels"] for panel in [outer, *outer.get("panels", [])]]
    ids = [panel["id"] for panel in every]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert used <= variables, used - variables
    assert {"datasource", "job", "instance"} <= variables
    headings = anchors((ROOT / "docs/operations.md").read_text())
    for panel in panels():
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert "Healthy: " in panel["description"], panel["title"]
        assert panel["targets"] and all(target["expr"] and target["refId"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        named = re.findall(r"#([a-z-]+)", panel["description"])
        assert set(named) <= headings, (panel["title"], named)
        area = panel["gridPos"]
        assert area["x"] + area["w"] <= 24, panel["title"]


def test_no_panels_overlap():
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    for i, a in enumerate(places):
        for b in places[i + 1 :]:
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


@pytest.fixture(scope="module")
def prometheus(server, folder):
    """Asks a Prometheus that scrapes the server and evaluates the rules each second, and gives its answer."""
    files = [MONITORING / "rules.yaml", MONITORING / "alerts.yaml"]
    prometheus = Prometheus(folder / "prometheus", {"countersign": {"only": server["http_addr"]}}, files)
    yield prometheus.ask
    prometheus.end()


def test_prometheus_evaluates_the_rules_and_nothing_fires(prometheus):
    groups = prometheus("rules")["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    assert len(every) == len(rules()) + len(alerts())
    assert [(rule["name"], rule.get("lastError")) for rule in every if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in every if rule.get("state") == "firing"] == []


def test_each_panel_can_be_queried(prometheus):
    empty = []
    for title, expression in dashboard_expressions():
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        if not prometheus("query", query=expression)["result"]:
            empty.append(title)
    # Nothing but these needs traffic, which this server has not had.
    assert set(empty) <= {"Failed calls", "Calls that failed, by code"}


def test_a_database_that_hangs_is_noticed_without_any_call(prometheus, folder):
    def raised():
        """Alerts that wait for their time, or fire."""
        return {result["metric"]["alertname"] for result in prometheus("query", query="ALERTS")["result"]}

    def noticed():
        failures = prometheus("query", query="countersign:database_failures:rate5m > 0")["result"]
        return stale <= raised() and failures

    stale = {"CountersignReplicaStale", "CountersignAllReplicasStale"}
    with frozen(folder / "dev/postgres"):
        wait_until("the replica is stale, and heartbeats fail", noticed, 30)
    wait_until("nothing is stale any more", lambda: not stale & raised(), 30)
