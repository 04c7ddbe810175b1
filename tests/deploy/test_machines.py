"""The units of systemd, the image and the services of Compose."""

import re
import shutil
import subprocess

import pytest

from files import DEPLOY, ROOT, read_yaml

UNITS = ["countersign.service", "countersign-migrate.service"]
# Tenths of the exposure that `systemd-analyze security` finds (systemd 252: 1.4 and 1.2).
MOST_EXPOSURE = {"countersign.service": 14, "countersign-migrate.service": 12}
with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="without systemd")


@pytest.fixture(scope="module")
def units(binary, folder):
    """The units, with the program where it is here."""
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        assert "ExecStart=/usr/local/bin/countersign " in text
        (folder / name).write_text(text.replace("/usr/local/bin/countersign", binary))
    return folder


@with_systemd
def test_systemd_understands_the_units(units):
    command = ["systemd-analyze", "verify", "--man=no", *(str(units / name) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "countersign" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@with_systemd
@pytest.mark.parametrize("name", UNITS)
def test_units_are_exposed_to_little(units, name):
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE[name]}", "--no-pager"]
    done = subprocess.run([*command, str(units / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_a_stop_is_given_its_time():
    text = (DEPLOY / "systemd/countersign.service").read_text()
    duck, drain = (int(re.search(rf"COUNTERSIGN_{name}=(\d+)s", text).group(1)) for name in ("LAME_DUCK", "DRAIN_TIMEOUT"))
    assert int(re.search(r"^TimeoutStopSec=(\d+)s", text, flags=re.M).group(1)) >= duck + drain + 5
    server = read_yaml(DEPLOY / "docker/compose.yaml")["services"]["countersign"]
    duck, drain = (int(server["environment"][f"COUNTERSIGN_{name}"].rstrip("s")) for name in ("LAME_DUCK", "DRAIN_TIMEOUT"))
    assert int(server["stop_grace_period"].rstrip("s")) >= duck + drain + 5


def test_services_of_compose_are_hardened():
    compose = read_yaml(DEPLOY / "docker/compose.yaml")
    for name, service in compose["services"].items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["secrets"]) <= set(compose["secrets"]), name
        assert set(service["networks"]) <= set(compose["networks"]), name
        if name != "postgres":
            assert service["user"] == "65532:65532" and "cap_add" not in service
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert compose["networks"]["database"]["internal"] is True
    made = (DEPLOY / "docker/make-secrets").read_text()
    for secret in compose["secrets"].values():
        assert f">{secret['file'].removeprefix('./')}" in made
    after = compose["services"]["countersign"]["depends_on"]
    assert after["migrate"]["condition"] == "service_completed_successfully"
    assert compose["services"]["countersign"]["deploy"]["replicas"] == 2


def test_the_image_runs_as_nobody_without_a_shell():
    """As far as the file says it: nobody builds it here."""
    text = (DEPLOY / "docker/Dockerfile").read_text()
    stage = text[text.rindex("\nFROM ") :]
    assert re.search(r"^ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot$", text, flags=re.M)
    assert "\nUSER 65532:65532\n" in stage and "\nRUN " not in stage
    # Each in the form of a list, which needs no shell.
    for instruction in ("ENTRYPOINT", "CMD"):
        assert re.search(rf"^{instruction} \[", stage, flags=re.M)
    assert re.search(r'^HEALTHCHECK .* CMD \["/usr/local/bin/countersign", "healthcheck"\]$', stage, flags=re.M)
    assert "cargo build --release --locked" in text


def test_a_build_of_the_image_is_given_all_that_cargo_asks_for(folder):
    """The packages are complete in what .dockerignore lets through."""
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    context = folder / "context"
    context.mkdir()
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, context / name)
        else:
            shutil.copy(source, context / name)
    command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_health_check_asks_the_address_of_the_server(binary, server):
    """COUNTERSIGN_GRPC_ADDR as Compose and the chart set it: all addresses."""
    port = server["grpc_addr"].rsplit(":", 1)[1]
    done = subprocess.run([binary, "healthcheck"], env={"COUNTERSIGN_GRPC_ADDR": f":{port}"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "serving\n"), done.stderr
