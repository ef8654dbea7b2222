"""What `fleetpulse check` looks at. Each check reads only, and says what is wrong, where, and what to do."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from pydantic import ValidationError

from fleetpulse import config
from fleetpulse.auth import ensure_safe
from fleetpulse.auth.keys import list_keys
from fleetpulse.auth.tokens import Tokens
from fleetpulse.config import Settings
from fleetpulse.errors import ConfigError, UpstreamError
from fleetpulse.events import plugins
from fleetpulse.journal.schema import examine
from fleetpulse.reports.mail import Mailer
from fleetpulse.sender import connect_url
from fleetpulse.sinks.variables import read_telemetry
from fleetpulse.stack import ports, tools
from fleetpulse.stack.alerting.document import build
from fleetpulse.stack.alerting.versions import detect
from fleetpulse.stack.files import tools_folder
from fleetpulse.tap.guards import shown

LOW_DISK_BYTES = 2**30
ANSWER_SECONDS = 2.0


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at (a setting where there is one), and what was found."""

    level: Level
    setting: str
    message: str


def read_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings, and what was found while reading them; None when they cannot be read."""
    unknown = [
        Finding(Level.WARNING, name, "is no setting of this version; is it spelt as in docs/configuration.md?")
        for name in config.unknown_variables(config.Settings.model_fields)
    ]
    try:
        path = config.config_path()
        source = Finding(Level.OK, "file", str(path) if path else "none (fleetpulse.yaml is optional)")
        noted = [Finding(Level.OK, "file", note) for note in config.notes()]
        return config.load(), [source, *noted, *unknown]
    except ConfigError as error:
        return None, [*_reading_errors(error), *unknown]


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """Everything else, check by check."""
    for check in CHECKS:
        yield from check(settings)


def _reading_errors(error: ConfigError) -> list[Finding]:
    """One finding per wrong setting, where they are known one by one."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return [Finding(Level.ERROR, "file", error.detail)]
    return [
        Finding(Level.ERROR, ".".join(map(str, item["loc"])) or "configuration", item["msg"])
        for item in cause.errors(include_input=False, include_url=False)
    ]


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.resolve()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Finding(
            Level.ERROR, "data_dir", f"{existing} cannot be written: {error.strerror}; choose another folder"
        )
        return
    free = shutil.disk_usage(existing).free
    if free < LOW_DISK_BYTES:
        yield Finding(Level.WARNING, "data_dir", f"{folder} has only {free / 2**20:.0f} MiB free")
    else:
        yield Finding(Level.OK, "data_dir", f"{folder} ({free / 2**30:.0f} GiB free)")


def _journal(settings: Settings) -> Iterator[Finding]:
    path = settings.journal_path
    if not path.exists():
        yield Finding(Level.OK, "journal", f"{path} will be made at the first start")
        return
    try:
        examine(path)
    except ConfigError as error:
        yield Finding(Level.ERROR, "journal", error.detail)
    except sqlite3.Error as error:
        yield Finding(Level.ERROR, "journal", f"{path} cannot be opened: {error}")
    else:
        yield Finding(Level.OK, "journal", f"{path} is sound")


def _credentials(settings: Settings) -> Iterator[Finding]:
    try:
        keys = [key for key in list_keys(settings.app_keys_path) if key.revoked_at is None]
        signed = Tokens.from_settings(settings.auth, lambda: 0.0).configured
        ensure_safe(settings)
    except ConfigError as error:
        yield Finding(Level.ERROR, "auth", error.detail)
        return
    if keys or signed:
        yield Finding(Level.OK, "auth", f"{len(keys)} app keys; tokens {'are' if signed else 'are not'} accepted")
    elif config.is_loopback(settings.host):
        yield Finding(Level.OK, "auth", f"no credentials are needed, as {settings.host} is this machine only")
    else:
        yield Finding(Level.WARNING, "auth.allow_unauthenticated", f"anyone who reaches {settings.host} may do all")


def _port(settings: Settings) -> Iterator[Finding]:
    why = ports.refusal(settings.host, settings.port) if settings.port else None
    if why is None:
        yield Finding(Level.OK, "port", f"{settings.host}:{settings.port} is free")
    elif _answers(connect_url(settings.host, settings.port) + "/-/healthy", "Fleetpulse"):
        yield Finding(Level.OK, "port", f"{settings.host}:{settings.port}: a Fleetpulse is running there")
    else:
        free = ports.free_port("127.0.0.1", settings.port)
        yield Finding(
            Level.ERROR, "port", f"{settings.host}:{settings.port} cannot be had: {why}; try FLEETPULSE_PORT={free}"
        )


def _neighbours(settings: Settings) -> Iterator[Finding]:
    places = {
        "prometheus": (settings.prometheus_url, "/-/ready"),
        "alertmanager": (settings.alertmanager_url, "/-/ready"),
        "grafana": (settings.grafana_url, "/api/health"),
    }
    for name, (url, path) in places.items():
        if _answers(url + path):
            yield Finding(Level.OK, f"stack.{name}_url", f"{url} answers")
        else:
            yield Finding(
                Level.WARNING,
                f"stack.{name}_url",
                f"nothing answers at {url}; ingest works without it",
            )


def _telemetry(_settings: Settings) -> Iterator[Finding]:
    try:
        asked = read_telemetry(config.otel_variables())
    except ConfigError as error:
        yield Finding(Level.ERROR, "OTEL_*", error.detail)
        return
    for what, destination in (("log records", asked.logs), ("spans", asked.traces)):
        if destination is not None:
            yield Finding(Level.OK, "OTEL_*", f"{what} are sent to {destination.shown}")


def _mail(settings: Settings) -> Iterator[Finding]:
    own = settings.reports
    if own.smtp_host is None:
        return
    try:
        Mailer(own).verify()
    except UpstreamError as error:
        yield Finding(Level.WARNING, "reports", f"{own.smtp_host}: {error.detail}")
    else:
        yield Finding(Level.OK, "reports", f"the mail server {own.smtp_host} answers")


def _alerting(settings: Settings) -> Iterator[Finding]:
    if not settings.alerting.configured:
        return
    try:
        document = build(settings, detect(tools_folder(settings.data_dir)))
    except ConfigError as error:
        yield Finding(Level.ERROR, "alerting", error.detail)
        return
    for note in document.notes:
        yield Finding(Level.WARNING, "alerting", note)
    names = ", ".join(settings.alerting.names) or "nobody"
    yield Finding(Level.OK, "alerting", f"{names} can be told; `fleetpulse alertmanager check` looks closer")


def _programs(settings: Settings) -> Iterator[Finding]:
    folder = tools_folder(settings.data_dir)
    for name in ("prometheus", "alertmanager"):
        found = tools.find(name, folder)
        if found:
            yield Finding(Level.OK, name, str(found))
        else:
            yield Finding(Level.WARNING, name, "is not installed; `fleetpulse up` and `make tools` fetch it")


def _plugins(settings: Settings) -> Iterator[Finding]:
    own = settings.plugins
    there = plugins.installed()
    for name in dict.fromkeys(own.enabled):
        try:
            found = plugins.chosen(name, there)
            found.load()
        except ConfigError as error:
            level = Level.ERROR if own.on_error == "stop" else Level.WARNING
            yield Finding(level, "plugins.enabled", error.detail)
        else:
            yield Finding(Level.OK, "plugins.enabled", f"{name} ({found.package} {found.version}) can be loaded")
    for each in there:
        if each.name not in own.enabled:
            about = f"{each.name} ({each.package} {each.version}) is installed and not enabled"
            yield Finding(Level.OK, "plugins.enabled", about)
    for name in sorted(set(own.settings) - set(own.enabled)):
        yield Finding(Level.WARNING, f"plugins.settings.{name}", "is for a plug-in that is not enabled")


def _tap(settings: Settings) -> Iterator[Finding]:
    for stream in settings.tap.streams:
        place = f"tap: {stream.name}"
        if not stream.enabled:
            yield Finding(Level.OK, place, "is not listened to")
            continue
        yield Finding(Level.OK, place, f"is recorded from {shown(stream.url)}")
        if not stream.tls.verify:
            yield Finding(Level.WARNING, place, "tls.verify is off: whoever answers is believed")
        tls = (stream.tls.ca_file, stream.tls.cert_file, stream.tls.key_file)
        sent = (message.file for message in (*stream.on_connect, *stream.regularly))
        for file in (*stream.header_files.values(), *stream.secrets.values(), *tls, *sent):
            if file is not None and not os.access(file, os.R_OK):
                yield Finding(Level.ERROR, place, f"{file} cannot be read: is it there, and may this user read it?")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _data_dir,
    _journal,
    _credentials,
    _port,
    _programs,
    _neighbours,
    _telemetry,
    _mail,
    _alerting,
    _plugins,
    _tap,
)


def _answers(url: str, text: str = "") -> bool:
    """Whether a GET is answered with 200 and this text."""
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urlopen(url, timeout=ANSWER_SECONDS) as response:  # noqa: S310 - the scheme was just checked
            return text in response.read(10_000).decode("utf-8", "replace")
    except (HTTPError, URLError, OSError, ValueError):
        return False
