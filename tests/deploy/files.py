"""The files of this repository that the tests read, and what is named in them."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MONITORING = DEPLOY / "monitoring"
CHART = DEPLOY / "helm" / "countersign"
KUSTOMIZE = DEPLOY / "kustomize"


def read_yaml(path):
    return yaml.safe_load(path.read_text())


def rules():
    """The recording rules."""
    return [rule for group in read_yaml(MONITORING / "rules.yaml")["groups"] for rule in group["rules"]]


def alerts():
    return [rule for group in read_yaml(MONITORING / "alerts.yaml")["groups"] for rule in group["rules"]]


def dashboard():
    return json.loads((MONITORING / "dashboard.json").read_text())


def panels():
    """The panels that show something."""
    found = [panel for outer in dashboard()["panels"] for panel in [outer, *outer.get("panels", [])]]
    return [panel for panel in found if panel["type"] != "row"]


def dashboard_expressions():
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def anchors(document):
    """The anchors of the headings of a document, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", document, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def files_below(folder):
    names = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in names if "secrets" not in path.relative_to(folder).parts]


# What is left of PromQL without its texts, durations and groupings: names of metrics, functions and operators.
NO_METRICS = {"and", "or", "unless", "by", "on", "without", "ignoring", "offset", "group_left", "group_right", "bool", "Inf", "NaN"}


def selectors(expression):
    """The metrics that an expression names, each with its matchers of one value (`label="value"`)."""
    bare = re.sub(r"\[[^]]*\]|\boffset\s+\w+|\b(by|on|without|ignoring)\s*\([^)]*\)", " ", expression)
    found = []
    for name, matchers in re.findall(r'(?<![\w:"$.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])\s*(\{(?:"[^"]*"|[^}"])*\})?', without_texts(bare)):
        if name not in NO_METRICS:
            found.append((name, matchers))
    return [(name, dict(TEXTS.findall(restored(matchers)))) for name, matchers in found]


TEXTS = re.compile(r'(\w+)="([^"]*)"')
_kept = []


def without_texts(expression):
    """The expression with a number in place of each text, so that nothing in it is taken for a name."""
    _kept.clear()

    def keep(match):
        _kept.append(match.group(0))
        return f'"{len(_kept) - 1}"'

    return re.sub(r'"(?:\\.|[^"\\])*"', keep, expression)


def restored(matchers):
    return re.sub(r'"(\d+)"', lambda match: _kept[int(match.group(1))], matchers)
