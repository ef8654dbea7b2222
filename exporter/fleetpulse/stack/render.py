"""Renders Prometheus' and Alertmanager's configuration for this machine's ports, from the committed folders.

The committed files stay as they are; what is rendered goes to `<data>/run/` and is made anew at every start. Only
addresses and the token file are put in: what is scraped, which rules fire and who is told is not decided here.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from fleetpulse.errors import ConfigError
from fleetpulse.stack.files import StackFiles

WEBHOOK_PATH = "/api/v1/alerts/webhook"
EXPORTER_JOB = "fleetpulse"


@dataclass(frozen=True)
class Addresses:
    """Where the parts listen, as URLs without a trailing slash."""

    exporter: str
    prometheus: str
    alertmanager: str
    grafana: str


@dataclass(frozen=True)
class Rendered:
    """The rendered main files."""

    prometheus: Path
    alertmanager: Path


def render(files: StackFiles, addresses: Addresses, run: Path, token_file: Path) -> Rendered:
    """Writes everything below `run`; raises ConfigError when it cannot be written or a file is not as expected."""
    try:
        prometheus = _copy(files.prometheus, run / "prometheus")
        alertmanager = _copy(files.alertmanager, run / "alertmanager")
        _targets(prometheus / "targets", addresses)
        _edit(prometheus / "prometheus.yml", lambda document: _scrape_with(document, token_file))
        _edit(alertmanager / "alertmanager.yml", lambda document: _post_to(document, addresses, token_file))
    except OSError as error:
        raise ConfigError(f"data_dir: {run} cannot be written: {error.strerror}") from error
    return Rendered(prometheus / "prometheus.yml", alertmanager / "alertmanager.yml")


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _edit(path: Path, change: Any) -> None:
    document = yaml.safe_load(path.read_text())
    try:
        change(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is not as expected, near {error}") from error
    path.write_text(f"# Rendered by `fleetpulse up` at every start: changes here are lost.\n{_dump(document)}")


def _dump(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000)


def _targets(folder: Path, addresses: Addresses) -> None:
    places = {
        "fleetpulse": addresses.exporter,
        "prometheus": addresses.prometheus,
        "alertmanager": addresses.alertmanager,
    }
    folder.mkdir(exist_ok=True)
    for name, url in places.items():
        (folder / f"{name}.yml").write_text(_dump([{"targets": [urlsplit(url).netloc]}]))


def _scrape_with(document: dict[str, Any], token_file: Path) -> None:
    for job in document["scrape_configs"]:
        if job["job_name"] == EXPORTER_JOB:
            job["authorization"] = {"credentials_file": str(token_file)}


def _post_to(document: dict[str, Any], addresses: Addresses, token_file: Path) -> None:
    """Points every webhook of the exporter to where it listens now; other receivers stay as they are."""
    for receiver in document["receivers"]:
        for webhook in receiver.get("webhook_configs", ()):
            if urlsplit(webhook["url"]).path == WEBHOOK_PATH:
                webhook["url"] = addresses.exporter + WEBHOOK_PATH
                webhook.setdefault("http_config", {})["authorization"] = {"credentials_file": str(token_file)}
