from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.tools import run

from fleetpulse.errors import ConfigError
from fleetpulse.stack.files import StackFiles
from fleetpulse.stack.render import Addresses, Rendered, render

ADDRESSES = Addresses(
    "http://127.0.0.1:18001", "http://127.0.0.1:19090", "http://127.0.0.1:19093", "http://127.0.0.1:13000"
)


@pytest.fixture
def rendered(tmp_path: Path) -> Rendered:
    token = tmp_path / "run" / "token"
    made = render(StackFiles.find(), ADDRESSES, tmp_path / "run", token)
    token.write_text("t")
    return made


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_prometheus_accepts_what_is_rendered(rendered: Rendered) -> None:
    assert "SUCCESS" in run("promtool", "check", "config", str(rendered.prometheus))


def test_alertmanager_accepts_what_is_rendered(rendered: Rendered) -> None:
    assert "SUCCESS" in run("amtool", "check-config", str(rendered.alertmanager))


def test_the_targets_are_the_chosen_addresses(rendered: Rendered) -> None:
    folder = rendered.prometheus.parent / "targets"
    found = {path.stem: load(path)[0]["targets"] for path in folder.glob("*.yml")}
    assert found == {
        "fleetpulse": ["127.0.0.1:18001"],
        "prometheus": ["127.0.0.1:19090"],
        "alertmanager": ["127.0.0.1:19093"],
    }


def test_only_addresses_and_the_token_differ_from_the_committed_files(rendered: Rendered, tmp_path: Path) -> None:
    token = str(tmp_path / "run" / "token")
    prometheus = load(StackFiles.find().prometheus / "prometheus.yml")
    for job in prometheus["scrape_configs"]:
        if job["job_name"] == "fleetpulse":
            job["authorization"] = {"credentials_file": token}
    assert load(rendered.prometheus) == prometheus

    text = (StackFiles.find().alertmanager / "alertmanager.yml").read_text()
    alertmanager = yaml.safe_load(text.replace("127.0.0.1:8001", "127.0.0.1:18001"))
    [webhook] = [
        webhook
        for receiver in alertmanager["receivers"]
        for webhook in receiver.get("webhook_configs", ())
        if webhook["url"].endswith("/api/v1/alerts/webhook")
    ]
    webhook["http_config"] = {"authorization": {"credentials_file": token}}
    assert load(rendered.alertmanager) == alertmanager


def test_other_webhooks_stay_as_they_are(tmp_path: Path) -> None:
    committed = StackFiles.find()
    own = StackFiles(tmp_path / "own")
    for name in ("prometheus", "alertmanager"):
        (own.root / name).mkdir(parents=True)
    (own.prometheus / "prometheus.yml").write_text((committed.prometheus / "prometheus.yml").read_text())
    (own.alertmanager / "alertmanager.yml").write_text(
        "receivers: [{name: a, webhook_configs: [{url: 'https://example.com/hook'}]}, {name: b}]"
    )
    made = render(own, ADDRESSES, tmp_path / "run", tmp_path / "token")
    assert load(made.alertmanager)["receivers"][0] == {
        "name": "a",
        "webhook_configs": [{"url": "https://example.com/hook"}],
    }


def test_leftovers_of_an_earlier_start_are_gone(rendered: Rendered, tmp_path: Path) -> None:
    stray = rendered.prometheus.parent / "rules" / "stray.yml"
    stray.write_text("groups: []")
    render(StackFiles.find(), ADDRESSES, tmp_path / "run", tmp_path / "run" / "token")
    assert not stray.exists()


def test_a_folder_that_cannot_be_written_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(ConfigError, match=r"data_dir: .*run"):
        render(StackFiles.find(), ADDRESSES, tmp_path / "run", tmp_path / "token")
