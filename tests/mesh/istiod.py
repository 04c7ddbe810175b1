"""A stand-in for Istio: it applies patches as istiod does, and gives Envoy what comes of it. No Istio runs here.

Istio's own code is in pilot/pkg/networking/core/envoyfilter (patches) and pkg/config/validation/envoyfilter (what is refused).
"""

import json
import socket
import subprocess

import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2  # noqa: F401
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_authn  # noqa: F401
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf import json_format
from processes import environment, free_port, wait_until
from proxies import Envoy

HCM = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
TYPE = "type.googleapis.com/envoy.extensions.filters"
# What istiod reads a patch as, and what may be done with it here.
KINDS = {"CLUSTER": (cluster_pb2.Cluster, "ADD"), "NETWORK_FILTER": (listener_components_pb2.Filter, "MERGE"), "HTTP_FILTER": (hcm.HttpFilter, "INSERT_BEFORE")}


def listener(port):
    """A listener as a sidecar has one, with a policy of Istio's that refuses a path."""
    refusing = {"action": "DENY", "policies": {"ns[default]-policy[no]-rule[0]": {
        "permissions": [{"url_path": {"path": {"exact": "/forbidden"}}}], "principals": [{"any": True}]}}}
    filters = [
        {"name": "envoy.filters.http.rbac", "typed_config": {"@type": f"{TYPE}.http.rbac.v3.RBAC", "rules": refusing}},
        {"name": ROUTER, "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}},
    ]
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "inbound"}}]
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound",
        "route_config": {"virtual_hosts": [{"name": "inbound", "domains": ["*"], "routes": routes}]},
        "http_filters": filters,
    }
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "virtualInbound",
        "address": address(port),
        "filter_chains": [{"filters": [{"name": HCM, "typed_config": manager}]}],
    }


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def apply(found, made, labels, context):
    """Patches the listener of a workload with these labels. The clusters that are added."""
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert found["apiVersion"] == "networking.istio.io/v1alpha3" and found["kind"] == "EnvoyFilter"
    spec, added = found["spec"], []
    assert set(spec) == {"workloadSelector", "configPatches"} and set(spec["workloadSelector"]) == {"labels"}
    for patch in spec["configPatches"]:
        assert set(patch) == {"applyTo", "match", "patch"} and set(patch["patch"]) == {"operation", "value"}
        message, operation = KINDS[patch["applyTo"]]
        assert patch["patch"]["operation"] == operation
        value = patch["patch"]["value"]
        # Istiod warns of fields that it does not know; here they are an error.
        json_format.ParseDict(value, message())
        if not spec["workloadSelector"]["labels"].items() <= labels.items() or patch["match"]["context"] != context:
            continue
        if operation == "ADD":
            assert set(patch["match"]) == {"context"}
            added.append({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", **value})
            continue
        assert set(patch["match"]) == {"context", "listener"} and set(patch["match"]["listener"]) == {"filterChain"}
        wanted = patch["match"]["listener"]["filterChain"]["filter"]
        for network_filter in made["filter_chains"][0]["filters"]:
            change(network_filter, wanted, operation, value)
    return added


def change(network_filter, wanted, operation, value):
    if network_filter["name"] != wanted["name"]:
        return
    if operation == "MERGE":
        assert "subFilter" not in wanted
        merge(network_filter, value)
    else:
        filters = network_filter["typed_config"]["http_filters"]
        names = [http_filter["name"] for http_filter in filters]
        filters.insert(names.index(wanted["subFilter"]["name"]), value)


def merge(into, value):
    """As protobuf merges: lists grow."""
    for key, content in value.items():
        if isinstance(content, dict) and key in into:
            merge(into[key], content)
        elif isinstance(content, list):
            into[key] = into.get(key, []) + content
        else:
            into[key] = content


class Sidecar(Envoy):
    """The proxy of a workload. Its listeners and clusters come from outside, as istiod's do."""

    def __init__(self, job, app, addresses, *settings, labels=None, context="SIDECAR_INBOUND"):
        self.port, self.more_port = free_port(), free_port()
        self.dir = job.dir / f"sidecar-{self.port}"
        self.dir.mkdir()
        words = ["mesh", "istio-config", "--countersign", ",".join(addresses), "--selector", "app=shop", *settings]
        printed = job.command(*words)
        assert printed.returncode == 0, printed.stderr
        made = listener(self.port)
        added = apply(yaml.safe_load(printed.stdout), made, labels or {"app": "shop", "version": "1"}, context)
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(app.port)}}]}]
        inbound = {"name": "inbound", "load_assignment": {"cluster_name": "inbound", "endpoints": endpoints}}
        clusters = [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", **inbound}, *added]
        node = {"id": "sidecar~10.0.0.1~shop-1.default~default.svc.cluster.local", "cluster": "shop.default"}
        sources = {"lds_config": self.source("lds", [made]), "cds_config": self.source("cds", clusters)}
        bootstrap = {"node": node, "admin": {"address": address(self.more_port)}, "dynamic_resources": sources}
        self.config, self.log = self.dir / "envoy-rev.json", self.dir / "log"
        self.config.write_text(json.dumps(bootstrap))
        with open(self.log, "wb") as log:
            words = [str(word) for word in self.command()]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        wait_until("the sidecar listens", lambda: self.runs() and self.is_ready() and self.listens(), 30)

    def source(self, kind, resources):
        file = self.dir / f"{kind}.json"
        file.write_text(json.dumps({"resources": resources}))
        return {"resource_api_version": "V3", "path_config_source": {"path": str(file)}}

    def listens(self):
        with socket.socket() as found:
            return found.connect_ex(("127.0.0.1", self.port)) == 0
