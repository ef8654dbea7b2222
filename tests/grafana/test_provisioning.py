"""Grafana's provisioning files fit each other, the dashboards and the programs that start Grafana."""

from typing import Any

import yaml
from tests.grafana.queries import dashboards
from tests.tools import ROOT

FOLDER = ROOT / "grafana" / "provisioning"


def load(kind: str) -> dict[str, Any]:
    (path,) = (FOLDER / kind).glob("*.yml")
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert document["apiVersion"] == 1
    return document


def test_data_sources_have_pinned_uids() -> None:
    sources = {source["uid"]: source["type"] for source in load("datasources")["datasources"]}
    assert sources == {
        "fleetpulse-prometheus": "prometheus",
        "fleetpulse-alertmanager": "alertmanager",
        "fleetpulse-loki": "loki",
    }


def test_data_sources_are_reached_through_grafana_at_addresses_from_the_environment() -> None:
    for source in load("datasources")["datasources"]:
        assert source["access"] == "proxy"
        assert source["url"] == f"$FLEETPULSE_{source['type'].upper()}_URL"
        assert source["editable"] is False


def test_one_data_source_is_the_default() -> None:
    assert [source["uid"] for source in load("datasources")["datasources"] if source.get("isDefault")] == [
        "fleetpulse-prometheus"
    ]


def test_the_scrape_interval_is_prometheus_own() -> None:
    (prometheus, *_) = load("datasources")["datasources"]
    scrape = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert prometheus["jsonData"]["timeInterval"] == scrape


def test_dashboards_open_on_a_provisioned_data_source() -> None:
    uids = {source["uid"] for source in load("datasources")["datasources"]}
    for board in dashboards().values():
        (chosen,) = (each for each in board["templating"]["list"] if each["type"] == "datasource")
        assert chosen["current"]["value"] in uids


def test_dashboards_come_from_one_folder_and_stay_as_built() -> None:
    (provider,) = load("dashboards")["providers"]
    assert (provider["type"], provider["folder"]) == ("file", "Fleetpulse")
    assert provider["options"]["path"] == "$FLEETPULSE_DASHBOARDS"
    assert provider["allowUiUpdates"] is False


def test_the_native_stack_sets_every_variable() -> None:
    source = (ROOT / "exporter" / "fleetpulse" / "stack" / "services.py").read_text()
    for name in (*(source["url"][1:] for source in load("datasources")["datasources"]), "FLEETPULSE_DASHBOARDS"):
        assert f'"{name}"' in source
