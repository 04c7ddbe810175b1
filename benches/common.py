"""What the benches in Python share: the surroundings of a run, and how figures are written."""

import datetime
import math
import os
import pathlib
import platform
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOISE = ".\n  **The machine was not quiet**: other work took from all figures, and not from all alike"


def environment(**more):
    """Ours, without settings that would change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERSIGN_")}
    return {**kept, "COUNTERSIGN_LOG": "warn", **more}


def generator(binary):
    """The command of the load generator that was built with a server; builds of before had it in the server itself."""
    beside = binary.with_name("countersign-bench")
    return [beside] if beside.exists() else [binary, "bench"]


def machine():
    def first(path, key):
        lines = pathlib.Path(path).read_text().splitlines() if os.path.exists(path) else []
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")

    def said(*command):
        if not shutil.which(command[0]):
            return "unknown"
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.strip()

    changed = "" if not said("git", "status", "--porcelain", "--", "src", "crates", "Cargo.toml", "Cargo.lock") else " with changes"
    return {
        "date": datetime.date.today().isoformat(),
        "commit": said("git", "rev-parse", "--short", "HEAD") + changed,
        "rustc": said("rustc", "--version"),
        "cores": os.cpu_count(),
        "cpu": first("/proc/cpuinfo", "model name"),
        "memory": first("/proc/meminfo", "MemTotal"),
        "huge_pages": first("/proc/meminfo", "HugePages_Total"),
        "system": platform.system() + " " + platform.release().split("-")[0],
        "load_before": os.getloadavg()[0],
    }


def number(value):
    """Three significant digits, or all before the point."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def table(head, rows):
    aligned = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, aligned, *rows])
