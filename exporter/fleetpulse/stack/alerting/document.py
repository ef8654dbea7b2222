"""The whole configuration as one document, and as YAML: the same settings always give the same bytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetpulse.auth import Authenticator
from fleetpulse.config import Settings
from fleetpulse.sender import connect_url
from fleetpulse.stack.alerting import routes, versions
from fleetpulse.stack.alerting.inhibitions import inhibit_rules
from fleetpulse.stack.alerting.receivers import receivers
from fleetpulse.stack.alerting.target import Target
from fleetpulse.stack.alerting.times import time_intervals
from fleetpulse.stack.alerting.versions import Version
from fleetpulse.stack.alerting.yaml_text import dump

WEBHOOK_PATH = "/api/v1/alerts/webhook"
OWN = (routes.NOBODY, routes.WATCHDOG, routes.EXPORTER, routes.PEOPLE)
HEAD = """\
# Rendered by `fleetpulse alertmanager render` for Alertmanager {version}: changes here are lost.
# It is made of the settings under `alerting` (docs/alerting.md).
"""
PRIVATE_HEAD = "# It holds secrets: nobody but its owner and Alertmanager should be able to read it.\n"
MASKED_HEAD = "# Secrets are not shown: as it is here, Alertmanager cannot use it.\n"


@dataclass(frozen=True)
class Document:
    """What was rendered. `notes` are for people: what the version cannot do, what will reach nobody."""

    content: dict[str, Any]
    version: Version
    notes: tuple[str, ...]

    @property
    def masked(self) -> str:
        """The YAML without its secrets, to be shown."""
        return self._text(show_secrets=False)

    @property
    def text(self) -> str:
        """The YAML with its secrets, to be written where only its owner reads it."""
        return self._text(show_secrets=True)

    def _text(self, *, show_secrets: bool) -> str:
        body, has_secrets = dump(self.content, show_secrets=show_secrets)
        about_secrets = PRIVATE_HEAD if show_secrets else MASKED_HEAD
        notes = "".join(f"# Note: {note}\n" for note in self.notes)
        return HEAD.format(version=self.version) + (about_secrets if has_secrets else "") + notes + "\n" + body


@dataclass(frozen=True)
class Place:
    """Where Alertmanager will run, where that differs from the settings.

    `inline_secrets`: it cannot read the files that this machine's settings name, as in a container.
    """

    exporter_url: str | None = None
    exporter_token_file: Path | None = None
    inline_secrets: bool = False


def build(settings: Settings, version: Version, place: Place = Place()) -> Document:
    """Renders the settings for a version. Raises ConfigError when they do not suffice, or a secret's file fails."""
    target = Target(version, place.inline_secrets)
    alerting = settings.alerting
    route = routes.tree(alerting)
    intervals = time_intervals(alerting, settings.timezone)
    content = {
        "templates": ["templates/*.tmpl"],
        **({"time_intervals": intervals} if intervals else {}),
        "route": route,
        "receivers": [*_own(settings, place, target, route), *_others(settings, target, route)],
        "inhibit_rules": inhibit_rules(alerting),
    }
    _judge(settings, place, target)
    return Document(content, version, tuple(target.notes))


def routing(settings: Settings) -> str:
    """The tree of routes alone, with receivers that tell nobody: enough to ask whom an alert reaches."""
    route, intervals = routes.tree(settings.alerting), time_intervals(settings.alerting, settings.timezone)
    names = [{"name": name} for name in routes.used(route)]
    return dump({"time_intervals": intervals, "route": route, "receivers": names}, show_secrets=False)[0]


def _own(settings: Settings, place: Place, target: Target, route: routes.Node) -> list[dict[str, Any]]:
    """The receivers that are always there."""
    made: list[dict[str, Any]] = [
        {"name": routes.NOBODY},
        {"name": routes.WATCHDOG} | _watchdog(settings, target),
        {"name": routes.EXPORTER, "webhook_configs": [_webhook(settings, place, target)]},
    ]
    return [*made, {"name": routes.PEOPLE}] if routes.PEOPLE in routes.used(route) else made


def _others(settings: Settings, target: Target, route: routes.Node) -> list[dict[str, Any]]:
    return receivers(settings, [name for name in routes.used(route) if name not in OWN], target)


def _watchdog(settings: Settings, target: Target) -> dict[str, Any]:
    own = settings.alerting
    url = target.secret(
        "url",
        own.watchdog_url,
        own.watchdog_url_file,
        versions.WEBHOOK_URL_FILE,
        setting="alerting.watchdog_url",
    )
    return {"webhook_configs": [{**url, "send_resolved": False}]} if url else {}


def _webhook(settings: Settings, place: Place, target: Target) -> dict[str, Any]:
    """Back to the exporter, which journals each change of an alert."""
    url = place.exporter_url or settings.alerting.exporter_url or connect_url(settings.host, settings.port)
    file = place.exporter_token_file or settings.alerting.exporter_token_file
    token = target.secret("credentials", None, file, versions.HTTP_FILES, setting="alerting.exporter_token_file")
    http = {"http_config": {"authorization": token}} if token else {}
    return {"url": url.rstrip("/") + WEBHOOK_PATH, "send_resolved": True, **http}


def _judge(settings: Settings, place: Place, target: Target) -> None:
    """What is valid, and hardly meant."""
    own = settings.alerting
    if own.names and not routes.default_names(own):
        target.note("alerting.default_receivers: alerts that no route takes reach nobody")
    if not (place.exporter_token_file or own.exporter_token_file) and Authenticator.from_settings(settings).enabled:
        target.note(
            "alerting.exporter_token_file: the exporter asks for credentials; without a token it hears of no alert"
        )
