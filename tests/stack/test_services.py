from pathlib import Path

import pytest

from fleetpulse.config import Settings, Stack
from fleetpulse.stack.children import Service
from fleetpulse.stack.files import StackFiles
from fleetpulse.stack.render import Rendered
from fleetpulse.stack.services import Plan, services
from fleetpulse.stack.tools import Tools


def plan(folder: Path, grafana: Path | None = None, **settings: object) -> Plan:
    stack = Stack(prometheus_port=19090, alertmanager_port=19093, grafana_port=13000)
    made = Settings.model_validate({"port": 18001, "data_dir": folder, "stack": stack, **settings})
    return Plan(made, StackFiles.find(), Tools(Path("/usr/bin/prometheus"), Path("/usr/bin/amd"), grafana), folder)


def made(folder: Path, grafana: Path | None = None, **settings: object) -> dict[str, Service]:
    rendered = Rendered(folder / "prometheus.yml", folder / "alertmanager.yml")
    return {one.name: one for one in services(plan(folder, grafana, **settings), rendered)}


def test_all_listen_on_loopback_at_the_chosen_ports(tmp_path: Path) -> None:
    parts = made(tmp_path)
    assert list(parts) == ["Exporter", "Alertmanager", "Prometheus"]
    assert "--web.listen-address=127.0.0.1:19090" in parts["Prometheus"].command
    assert "--web.listen-address=127.0.0.1:19093" in parts["Alertmanager"].command
    assert "--cluster.listen-address=" in parts["Alertmanager"].command
    environment = parts["Exporter"].environment
    assert environment["FLEETPULSE_PORT"] == "18001"
    assert environment["FLEETPULSE_DATA_DIR"] == str(tmp_path)


def test_prometheus_keeps_a_month_and_the_month_before_it(tmp_path: Path) -> None:
    (option,) = (each for each in made(tmp_path)["Prometheus"].command if "retention.time" in each)
    assert int(option.removeprefix("--storage.tsdb.retention.time=").removesuffix("d")) >= 31 + 31 + 1 + 7


def test_prometheus_keeps_exemplars_and_series_as_long_as_it_is_told(tmp_path: Path) -> None:
    command = made(tmp_path, stack={"prometheus_retention_days": 90})["Prometheus"].command
    assert "--enable-feature=exemplar-storage" in command
    assert "--storage.tsdb.retention.time=90d" in command


def test_an_exporter_on_all_addresses_is_reached_on_loopback(tmp_path: Path) -> None:
    assert plan(tmp_path, host="0.0.0.0").addresses.exporter == "http://127.0.0.1:18001"  # noqa: S104


@pytest.mark.parametrize(("program", "first"), [("grafana-server", "--homepath"), ("grafana", "server")])
def test_grafana_gets_our_provisioning_and_keeps_its_data_with_ours(
    tmp_path: Path, program: str, first: str
) -> None:
    home = tmp_path / "grafana-home"
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").write_text("")
    (home / "bin").mkdir()
    parts = made(tmp_path, home / "bin" / program)
    grafana = parts["Grafana"]
    assert grafana.command[1] == first
    assert grafana.command[-2:] == ("--homepath", str(home))
    assert grafana.environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert grafana.environment["GF_SERVER_HTTP_PORT"] == "13000"
    assert Path(grafana.environment["GF_PATHS_PROVISIONING"]).name == "provisioning"
    assert grafana.environment["GF_PATHS_DATA"] == str(tmp_path / "grafana")
    assert grafana.environment["FLEETPULSE_PROMETHEUS_URL"] == "http://127.0.0.1:19090"
    assert grafana.health_url == "http://127.0.0.1:13000/api/health"


def test_every_variable_that_provisioning_reads_is_given(tmp_path: Path) -> None:
    grafana = made(tmp_path, Path("/usr/bin/grafana-server"))["Grafana"]
    folder = Path(grafana.environment["GF_PATHS_PROVISIONING"])
    read = {
        word.strip("\"'{}").removeprefix("{")
        for path in folder.rglob("*.yml")
        for line in path.read_text().splitlines()
        if not line.lstrip().startswith("#")
        for word in line.split()[1:]
        if word.startswith("$FLEETPULSE")
    }
    assert read, f"{folder} reads no variable"
    assert {name.removeprefix("$") for name in read} <= grafana.environment.keys()


def test_ports_name_their_settings(tmp_path: Path) -> None:
    ports = plan(tmp_path, Path("/usr/bin/grafana-server")).ports()
    assert [(port.service, port.number, port.variable) for port in ports] == [
        ("Exporter", 18001, "FLEETPULSE_PORT"),
        ("Alertmanager", 19093, "FLEETPULSE_STACK__ALERTMANAGER_PORT"),
        ("Prometheus", 19090, "FLEETPULSE_STACK__PROMETHEUS_PORT"),
        ("Grafana", 13000, "FLEETPULSE_STACK__GRAFANA_PORT"),
    ]
