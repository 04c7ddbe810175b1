"""Two replicas are restarted one after the other under load, as an orchestrator does: no call fails, without a retry."""

import json
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from processes import environment, wait_until

HERE = Path(__file__).parent
PATH = "/countersign.v1.AuthService/GetJwks"
LAME_DUCK = "3s"  # Envoy and the clients look each second.
ROUND_ROBIN = {"loadBalancingConfig": [{"round_robin": {}}]}
CHECKED = ROUND_ROBIN | {"healthCheckConfig": {"serviceName": ""}}

ENVOY = """
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: grpc
          codec_type: HTTP2
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: countersign, timeout: 0s }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: countersign
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    common_lb_config: {{ healthy_panic_threshold: {{ value: 0 }} }}
    health_checks:
    - {{ timeout: 1s, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, grpc_health_check: {{}} }}
    load_assignment:
      cluster_name: countersign
      endpoints:
      - lb_endpoints:
{endpoints}
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Load:
    """Calls a target some hundred times a second, from a thread of its own."""

    def __init__(self, target, config):
        self.calls, self.failed, self.over = 0, [], threading.Event()
        options = [("grpc.enable_retries", 0), ("grpc.service_config", json.dumps(config))]
        options += [("grpc.default_authority", "countersign")]
        self.channel = grpc.insecure_channel(target, options=options)
        grpc.channel_ready_future(self.channel).result(timeout=30)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        call = self.channel.unary_unary(PATH, empty_pb2.Empty.SerializeToString, lambda answer: answer)
        while not self.over.wait(0.005):
            self.calls += 1
            try:
                call(empty_pb2.Empty(), timeout=10)
            except grpc.RpcError as error:
                self.failed.append(f"{error.code()} {error.details()}")

    def end(self):
        self.over.set()
        self.thread.join()
        self.channel.close()
        return self.calls, self.failed


class NodeLoad:
    """The same by grpc-js."""

    def __init__(self, target):
        proto = HERE.parent.parent / "proto"
        command = ["node", str(HERE / "rolling.js"), str(proto), target]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, env=environment())
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        said, _ = self.process.communicate(timeout=60)
        report = json.loads(said)
        return report["calls"], report["failed"]


class Envoy:
    """An Envoy in front of the replicas, which checks their health each second and retries nothing."""

    def __init__(self, job, ports):
        self.port, self.admin = free_port(), free_port()
        host = "      - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}"
        endpoints = "\n".join("  " + host.format(port) for port in ports)
        config = job.dir / "envoy.yaml"
        config.write_text(ENVOY.format(port=self.port, admin=self.admin, endpoints=endpoints))
        command = [str(HERE / ".venv/bin/envoy"), "-c", str(config), "--use-dynamic-base-id", "--log-level", "warn"]
        with open(job.dir / "envoy.log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())

    def target(self):
        return f"127.0.0.1:{self.port}"

    def healthy(self):
        """How many replicas it sends calls to."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/clusters", timeout=5) as clusters:
            return clusters.read().count(b"health_flags::healthy")

    def end(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def ports():
    return [free_port(), free_port()]


def test_a_rolling_restart_loses_no_call(job, dev, ports):
    settings = ["--lame-duck", LAME_DUCK, "--drain-timeout", "30s"]
    start = lambda n: job.serve(f"rolling-{n}", dev, "--grpc-addr", f"127.0.0.1:{ports[n]}", *settings)
    replicas = [start(n) for n in range(2)]
    both = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    envoy = Envoy(job, ports)
    try:
        loads = {
            "Envoy": Load(envoy.target(), {}),
            "grpcio": Load(both, ROUND_ROBIN),
            "grpcio with health checks": Load(both, CHECKED),
            "grpc-js": NodeLoad(both),
        }
        for n in range(2):
            assert replicas[n].end() == []
            replicas[n] = start(n)
            # The next one is stopped when this one is known to be back, as a readiness gate has it.
            wait_until("Envoy sends calls to both", lambda: envoy.healthy() == 2, 60)
            seen = loads["grpcio"].calls
            wait_until("calls go on", lambda: loads["grpcio"].calls > seen + 300, 60)
        ended = {name: load.end() for name, load in loads.items()}
    finally:
        envoy.end()
    print({name: (calls, len(failed)) for name, (calls, failed) in ended.items()})
    for name, (calls, failed) in ended.items():
        assert calls > 300 and failed == [], f"{name}: {len(failed)} of {calls}: {failed[:3]}"
