import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / "exporter/Dockerfile").read_text("utf-8")
SERVICES = COMPOSE["services"]
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*$")


def requirements(name: str) -> dict[str, str]:
    """Each pinned requirement of a lock file with its hashes, comments left out."""
    lines = [line.strip() for line in (ROOT / name).read_text("utf-8").splitlines()]
    text = "\n".join(line.removesuffix("\\").strip() for line in lines if line and not line.startswith("#"))
    blocks = re.split(r"\n(?!--hash)", text)
    return {block.partition("==")[0]: block for block in blocks}


def version_and_hashes(block: str) -> tuple[str, list[str]]:
    return block.split(maxsplit=1)[0], sorted(re.findall(r"sha256:\w+", block))


def test_the_image_installs_what_the_lock_file_holds() -> None:
    everything, runtime = requirements("requirements.lock"), requirements("requirements-runtime.lock")
    pinned = {name: (block.split()[0], sorted(re.findall(r"sha256:\w+", block))) for name, block in runtime.items()}
    same = {
        name: (block.split()[0], sorted(re.findall(r"sha256:\w+", block))) for name, block in everything.items()
    }
    assert pinned == {name: same.get(name) for name in pinned}
    assert all(hashes for _, hashes in pinned.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = project["optional-dependencies"]["server"]
    assert len(direct) > 10
    assert {re.split(r"[\[><=]", requirement)[0] for requirement in direct} <= set(pinned)
    assert "pytest" not in pinned


def test_every_image_is_pinned_to_one_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [image for image in (*images, *bases) if not PINNED.match(image)] == []
    assert len(set(bases)) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_checked_bounded_unprivileged_and_on_loopback_only(name: str) -> None:
    service = SERVICES[name]
    assert "healthcheck" in service or ("build" in service and "HEALTHCHECK" in DOCKERFILE)
    assert "user" in service or ("build" in service and re.search(r"^USER [1-9]\d*:", DOCKERFILE, re.MULTILINE))
    assert str(service.get("user", "10001")).split(":")[0] not in ("0", "root")
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    named = [volume for volume in service["volumes"] if not volume.startswith("./")]
    assert [volume.split(":")[0] for volume in named] == [f"{name}-data"]
    assert all(volume.endswith(":ro") for volume in service["volumes"] if volume.startswith("./"))


def test_the_exporter_asks_the_other_services_by_their_names() -> None:
    settings = SERVICES["exporter"]["environment"]
    for name, port in (("prometheus", 9090), ("alertmanager", 9093)):
        assert settings[f"FLEETPULSE_STACK__{name.upper()}_INTERNAL_URL"] == f"http://{name}:{port}"
        assert SERVICES[name]["ports"][0].endswith(f":{port}")


def test_prometheus_keeps_a_month_and_the_month_before_it() -> None:
    (option,) = (each for each in SERVICES["prometheus"]["command"] if "retention.time" in each)
    assert option.endswith("=${FLEETPULSE_STACK__PROMETHEUS_RETENTION_DAYS:-70}d")


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    """Docker would make a missing folder, empty and as root."""
    mounted = [volume.split(":")[0] for volume in SERVICES[name]["volumes"] if volume.startswith("./")]
    assert [path for path in mounted if not (ROOT / path).is_dir()] == []


def test_every_variable_of_the_compose_file_is_documented() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    passed_on = [name for name, value in SERVICES["exporter"]["environment"].items() if value is None]
    names = {*re.findall(r"\$\{(\w+)", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)), *passed_on}
    page = (ROOT / "docs/docker.md").read_text("utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
