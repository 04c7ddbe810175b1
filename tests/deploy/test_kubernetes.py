"""The chart, rendered by Helm itself, and the manifests of Kustomize: valid, hardened, and without secrets."""

import re
import shutil
import subprocess
import tarfile

import helm_python
import kubernetes_validate
import pytest
import yaml

from files import CHART, KUSTOMIZE, MONITORING, ROOT, read_yaml

# The oldest that the chart allows, and the newest whose schemas are at hand.
VERSIONS = ["1.27", kubernetes_validate.latest_version()]
OF_THE_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
NEEDED = {"database": {"url": "postgres://countersign@db:5432/countersign?sslmode=verify-full"}}
EVERYTHING = {
    "image": {"digest": "sha256:" + "0" * 64},
    "database": {**NEEDED["database"], "ca": {"configMap": "database-ca"}},
    "adminToken": {"existingSecret": "admin"},
    "tls": {"existingSecret": "tls", "clientCaConfigMap": "client-ca", "httpPlaintext": False},
    "settings": {
        "COUNTERSIGN_ISSUER": "https://auth.example.com",
        "COUNTERSIGN_TOKEN_USERNAME": True,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    },
    "traces": {"endpoint": "http://collector.monitoring:4317", "headersSecret": "collector"},
    "policy": {"toml": (ROOT / "deploy/policy.toml").read_text()},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "identity"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}}
    ],
    "extraVolumes": [{"name": "blocklist", "configMap": {"name": "blocklist"}}],
    "extraVolumeMounts": [{"name": "blocklist", "mountPath": "/etc/countersign/blocklist"}],
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "autoscaling": {"enabled": True},
    "networkPolicy": {"grpcFrom": [{"podSelector": {}}], "databaseTo": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]},
    "migrate": {"url": "postgres://owner@db/countersign", "existingSecret": "owner", "passwordKey": "pw"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "runbookPrefix": "https://git.example.com/"},
    "dashboard": {"enabled": True},
}
LEAST = {
    **NEEDED,
    "probes": {"readiness": "grpc"},
    "service": {"headless": False},
    "serviceAccount": {"create": False},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "migrate": {"enabled": False},
    "policy": {"existingConfigMap": "policy"},
}
CASES = {"default": NEEDED, "everything": EVERYTHING, "least": LEAST}


@pytest.fixture(scope="module")
def chart():
    with helm_python.Chart.load(str(CHART)) as chart:
        yield chart


@pytest.fixture(scope="module")
def render(chart):
    def render(values, name="auth"):
        chart.validate_schema(chart.merge_values(values))
        texts = chart.render(values, name=name, namespace="identity")
        documents = [doc for path, text in texts.items() if path.endswith(".yaml") for doc in yaml.safe_load_all(text)]
        return [document for document in documents if document]

    return render


def built(name):
    """What Kustomize makes of a folder. Without kubectl, what the folder lists."""
    folder = KUSTOMIZE / name
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
        return list(yaml.safe_load_all(done.stdout))
    return [read_yaml(folder / file) for file in read_yaml(folder / "kustomization.yaml")["resources"]]


def check(documents):
    for document in documents:
        if document["kind"] not in OF_THE_OPERATOR:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
        assert document["kind"] != "Secret"
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            check_pod(document["spec"]["template"]["spec"])


def check_pod(pod):
    """The Pod Security Standard `restricted`, and more."""
    context = pod["securityContext"]
    assert context["runAsNonRoot"] and context["runAsUser"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not pod.get("hostNetwork") and not pod.get("hostPID") and not pod.get("hostIPC")
    volumes = {volume["name"]: set(volume) - {"name"} for volume in pod["volumes"]}
    assert set().union(*volumes.values()) <= {"configMap", "secret", "projected", "emptyDir"}
    [container] = pod["containers"]
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"]["memory"] and container["resources"]["limits"]["memory"]
    for mount in container["volumeMounts"]:
        assert mount["name"] in volumes and (mount.get("readOnly") or mount["name"] == "blocklist"), mount
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert len(environment) == len(container["env"])
    assert "COUNTERSIGN_MASTER_KEY" not in environment
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name, value in environment.items():
        if name.endswith("_FILE"):
            assert any(value.startswith(f"{path}/") for path in paths), (name, value)
    if container["args"] == ["serve"]:
        duck, drain = (environment[f"COUNTERSIGN_{name}"] for name in ("LAME_DUCK", "DRAIN_TIMEOUT"))
        seconds = [int(re.fullmatch(r"(\d+)s", text).group(1)) for text in (duck, drain)]
        assert pod["terminationGracePeriodSeconds"] >= sum(seconds) + 5
        # The lame duck is longer than two looks of the readiness probe.
        probe = container["readinessProbe"]
        assert seconds[0] > 2 * probe["periodSeconds"]
        assert "preStop" not in container.get("lifecycle", {})


def by_kind(documents):
    found = {}
    for document in documents:
        found.setdefault(document["kind"], []).append(document)
    return found


@pytest.mark.parametrize("case", CASES)
def test_what_helm_renders_is_valid(render, case):
    check(render(CASES[case]))


def test_helm_finds_nothing_to_say():
    said = helm_python.lint(str(CHART), NEEDED, strict=True)
    assert said["errors"] == [] and [m["error"] for m in said["messages"]] == ["icon is recommended"]


def test_the_kinds_that_are_rendered(render):
    assert set(by_kind(render(NEEDED))) == {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Job"}
    more = {"ConfigMap", "HorizontalPodAutoscaler", *OF_THE_OPERATOR}
    assert set(by_kind(render(EVERYTHING))) == set(by_kind(render(NEEDED))) | more
    assert set(by_kind(render(LEAST))) == {"Deployment", "Service"}


def test_traces_go_to_their_receiver_with_what_a_secret_says(render):
    kinds = by_kind(render(EVERYTHING))
    [container] = kinds["Deployment"][0]["spec"]["template"]["spec"]["containers"]
    environment = {variable.pop("name"): variable for variable in container["env"]}
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == {"value": "http://collector.monitoring:4317"}
    assert environment["OTEL_EXPORTER_OTLP_HEADERS"] == {"valueFrom": {"secretKeyRef": {"name": "collector", "key": "headers"}}}
    assert {"ports": [{"port": 4317, "protocol": "TCP"}]} in kinds["NetworkPolicy"][0]["spec"]["egress"]
    assert "OTEL" not in str(render(NEEDED)), "none unless they are wanted"


def test_selectors_find_the_pods_and_no_others(render):
    for values in CASES.values():
        kinds = by_kind(render(values))
        [deployment] = kinds["Deployment"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        of_the_job = [job["spec"]["template"]["metadata"]["labels"] for job in kinds.get("Job", [])]
        selectors = [deployment["spec"]["selector"]["matchLabels"]]
        selectors += [service["spec"]["selector"] for service in kinds["Service"]]
        selectors += [budget["spec"]["selector"]["matchLabels"] for budget in kinds.get("PodDisruptionBudget", [])]
        selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in kinds.get("NetworkPolicy", [])]
        for selector in selectors:
            assert selector.items() <= labels.items()
            assert not any(selector.items() <= others.items() for others in of_the_job)
        for monitor in kinds.get("ServiceMonitor", []):
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            assert len([s for s in kinds["Service"] if wanted <= s["metadata"]["labels"].items()]) == 1


def test_calls_go_to_ports_that_say_what_they_speak(render):
    of_gateways = {**NEEDED, "service": {"grpcAppProtocol": "kubernetes.io/h2c"}}
    for values, protocol in ((NEEDED, "grpc"), (EVERYTHING, "https"), (of_gateways, "kubernetes.io/h2c")):
        services = by_kind(render(values))["Service"]
        assert len(services) == 2 and [s["spec"].get("clusterIP") for s in services] == [None, "None"]
        for service in services:
            ports = {port["name"]: port for port in service["spec"]["ports"]}
            assert ports["grpc"]["appProtocol"] == protocol and ports["http"]["port"] == 8080


def test_the_rules_are_those_of_the_files(render):
    kinds = by_kind(render({**NEEDED, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}))
    for rule, name in zip(kinds["PrometheusRule"], ("rules", "alerts"), strict=True):
        assert rule["spec"] == read_yaml(MONITORING / f"{name}.yaml")
    [dashboard] = kinds["ConfigMap"]
    assert dashboard["data"]["countersign.json"].strip() == (MONITORING / "dashboard.json").read_text().strip()
    with_prefix = by_kind(render(EVERYTHING))["PrometheusRule"][1]["spec"]["groups"]
    urls = [rule["annotations"]["runbook_url"] for group in with_prefix for rule in group["rules"]]
    assert all(url.startswith("https://git.example.com/docs/operations.md#") for url in urls)


def test_a_package_of_the_chart_has_the_files_behind_its_links(folder):
    helm_python.package(str(CHART), destination=str(folder))
    [archive] = folder.glob("countersign-*.tgz")
    with tarfile.open(archive) as files:
        for name in ("rules.yaml", "alerts.yaml", "dashboard.json"):
            packed = files.extractfile(f"countersign/files/{name}").read()
            assert packed == (MONITORING / name).read_bytes(), name


@pytest.mark.parametrize(
    "wrong",
    [
        {"database": {"url": "postgres://user:secret@db/countersign"}},
        {"database": {"url": "mysql://user@db/countersign"}},
        {**NEEDED, "settings": {"COUNTERSIGN_MASTER_KEY": "x"}},
        {**NEEDED, "settings": {"COUNTERSIGN_LAME_DUCK": "1s"}},
        {**NEEDED, "settings": {"COUNTERSIGN_VERIFY_CACHE": 1000000}},
        {**NEEDED, "settings": {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret"}},
        {**NEEDED, "traces": {"endpoint": "http://user:secret@collector:4317"}},
        {**NEEDED, "masterkey": {}},
        {**NEEDED, "masterKey": {"existingSecret": ""}},
        {**NEEDED, "terminationMarginSeconds": 0},
        {**NEEDED, "networkPolicy": {"grpcFrom": [{"podselector": {}}]}},
    ],
)
def test_values_that_are_wrong_are_refused(chart, wrong):
    with pytest.raises(helm_python.HelmError):
        chart.validate_schema(chart.merge_values(wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {**EVERYTHING, "probes": {"readiness": "grpc"}},
        {**NEEDED, "tls": {"clientCaConfigMap": "ca"}},
    ],
)
def test_values_that_contradict_each_other_are_refused(render, wrong):
    with pytest.raises(helm_python.HelmError):
        render(wrong)


def test_what_kustomize_builds_is_valid():
    check(built("base") + built("migrate") + built("monitoring"))


def test_kustomize_has_the_rules_of_the_files():
    rules = by_kind(built("monitoring"))["PrometheusRule"]
    assert {rule["metadata"]["name"]: rule["spec"] for rule in rules} == {
        f"countersign-{name}": read_yaml(MONITORING / f"{name}.yaml") for name in ("rules", "alerts")
    }


def test_kustomize_and_helm_say_the_same(render):
    """But for the labels of Helm, its hook, and what ends a Job that is none."""
    base = KUSTOMIZE / "base"
    url = next(v["value"] for v in pod_of(base / "deployment.yaml")["containers"][0]["env"] if v["name"].endswith("_URL"))
    values = {
        "database": {"url": url},
        "policy": {"toml": (base / "policy.toml").read_text()},
        "serviceMonitor": {"enabled": True},
    }
    rendered = {key(document): without_labels(document) for document in render(values, name="countersign")}
    by_hand = {key(d): without_labels(d) for d in built("base") + built("migrate") + built("monitoring")}
    del by_hand["PrometheusRule", "countersign-rules"], by_hand["PrometheusRule", "countersign-alerts"]
    assert by_hand["Job", "countersign-migrate"]["spec"].pop("ttlSecondsAfterFinished") == 600
    assert set(rendered) == set(by_hand)
    for name, document in rendered.items():
        assert document == by_hand[name], name


def pod_of(path):
    return read_yaml(path)["spec"]["template"]["spec"]


def key(document):
    return document["kind"], document["metadata"]["name"]


def without_labels(value):
    if isinstance(value, dict):
        of_helm = {f"app.kubernetes.io/{name}" for name in ("instance", "version", "managed-by")} | {"helm.sh/chart"}
        gone = of_helm | {"annotations"}
        return {name: without_labels(inner) for name, inner in value.items() if name not in gone}
    if isinstance(value, list):
        return [without_labels(inner) for inner in value]
    return value.rstrip() if isinstance(value, str) else value


def test_policies_can_be_used(binary):
    for policy in (KUSTOMIZE / "base/policy.toml", ROOT / "deploy/policy.toml"):
        done = subprocess.run([binary, "policy", "check", str(policy)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
