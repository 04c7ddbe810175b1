"""Envoy with the files of deploy/, before an application that answers at once (a second Envoy), and a server.

Each way is measured by wrk in turns, so that other work on the machine takes from all: at one connection for latency,
and at 64 for throughput. What a check adds is the difference to a route of the same Envoy where nobody is asked.
"""

import argparse
import json
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import types
import urllib.error
import urllib.request

from common import environment, machine, number, table
from processes import wait_until
from proxies import Envoy, HttpService, JwtAuthn, free_port
from reflected import Client
from secrets_seen import Seen
from told import Told

APPLICATION = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: application
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{ match: {{ prefix: / }}, direct_response: {{ status: 200, body: {{ inline_string: ok }} }} }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"""
UNITS = {"us": 0.001, "ms": 1, "s": 1000}


class Dev:
    """A running `dev`, which logs as in production."""

    def __init__(self, binary, directory, name="dev"):
        data = directory / name
        command = [binary, "dev", "--data-dir", data, "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]
        command += ["--forward-auth", "path"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        if not any("Countersign is ready" in line for line in self.process.stdout):
            raise SystemExit("the server did not start")
        self.facts = json.loads((data / "dev.json").read_text())

    def token(self):
        login = {name: self.facts[name] for name in ("username", "password")}
        return Client(self.facts["grpc_addr"], Seen()).call("Login", **login).tokens.access_token

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.read()
        self.process.wait()


class Application:
    """An Envoy that answers by itself."""

    def __init__(self, directory):
        self.port, self.grpc_port = free_port(), free_port()
        config = directory / "application.yaml"
        config.write_text(APPLICATION.format(port=self.port))
        command = ["envoy", "-c", config, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
        self.process = subprocess.Popen(list(map(str, command)), env=environment())

    def end(self):
        self.process.terminate()
        self.process.wait()


def wrk(url, token, connections, seconds):
    """Requests a second, and the latencies of half and of 99 % of them in milliseconds."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-H",
        f"authorization: Bearer {token}",
        url,
    ]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{url} was not answered with 200:\n{said}")
    latency = {
        share: float(value) * UNITS[unit] for share, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", said)
    }
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), latency["50"], latency["99"]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("binary", type=pathlib.Path)
    options.add_argument("--seconds", type=int, default=5, help="of each measurement")
    options.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="countersign-bench-", dir="/tmp") as directory:
        directory = pathlib.Path(directory)
        directory.chmod(0o755)
        running = []
        try:
            print(report(measure(options, directory, running), options))
        finally:
            for process in reversed(running):
                process.end()


def passes(url, token):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def measure(options, directory, running):
    dev = Dev(options.binary.resolve(), directory)
    running.append(dev)
    application = Application(directory)
    running.append(application)
    job = types.SimpleNamespace(dir=directory, binary=options.binary.resolve())
    envoys = {}
    for kind in (Envoy, JwtAuthn, HttpService):
        envoys[kind] = kind(job, application, dev.facts)
        running.append(envoys[kind])
    told = Told(job, application, [dev.facts["grpc_addr"]])
    running.append(told)
    token = dev.token()
    ways = {
        "Envoy alone": f"http://127.0.0.1:{envoys[Envoy].port}/public/x",
        "with jwt_authn": f"http://127.0.0.1:{envoys[JwtAuthn].port}/orders",
        "with lists in the proxy": f"http://127.0.0.1:{told.port}/orders",
        "with ext_authz (gRPC)": f"http://127.0.0.1:{envoys[Envoy].port}/orders",
        "with forward auth (HTTP)": f"http://127.0.0.1:{envoys[HttpService].port}/orders",
    }
    for url in ways.values():
        wait_until(f"{url} passes", lambda url=url: passes(url, token), 30)
        wrk(url, token, 4, 1)
    runs = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, url in ways.items():
            runs[way].append((wrk(url, token, 1, options.seconds), wrk(url, token, 64, options.seconds)))
    return runs


def report(runs, options):
    rows, base = [], None
    for way, rounds in runs.items():
        median = lambda load, field: statistics.median(run[load][field] for run in rounds)
        p50, p99, rate = median(0, 1), median(0, 2), median(1, 0)
        base = base or (p50, p99)
        added = ["", ""] if base == (p50, p99) else [number(max(0, p50 - base[0])), number(max(0, p99 - base[1]))]
        rows.append([way, number(rate), number(p50), number(p99), *added])
    facts = machine()
    how = f"{facts['date']}, commit {facts['commit']}, {facts['cores']} cores ({facts['cpu']}), "
    how += f"load before {facts['load_before']:.1f}, "
    how += f"median of {options.rounds} rounds of {options.seconds} s. All processes share these cores."
    head = ["", "requests/s at 64 connections", "p50 at 1, ms", "p99 at 1, ms", "added p50, ms", "added p99, ms"]
    return f"{table(head, rows)}\n\n{how}"


if __name__ == "__main__":
    main()
