"""The `config.json` of the WebSocket monitor that the tap stands in for, read as Fleetpulse's own settings.

Owns what each of its keys means here. A key that needs no counterpart is taken, and a note says why; one that it
never had is an error, as everywhere. Comments (`//` to the end of the line, `/* … */`) are allowed, as its own
documentation writes them.
"""

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from fleetpulse.config.sections import Section
from fleetpulse.config.tap import MAIN, Seconds, Source, Words
from fleetpulse.errors import ConfigError

RULE = "keywords"
CAP_SECONDS = 60.0
COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
WORDS = {"warn": "warning", "critical": "error", "fatal": "error"}
IN_MEMORY = "needs no counterpart: messages are kept on disk, and what waits in memory is bounded (tap.streams)"
REFRESH = "needs no counterpart: pages are told of what is new at once, and dashboards refresh every 5 s"


def _level(value: Any) -> Any:
    return WORDS.get(value.lower(), value.lower()) if isinstance(value, str) else value


class Legacy(Section):
    """The file's keys, as its documentation has them; none is required."""

    websocket_url: str | None = None
    web_port: Annotated[int, Field(ge=0, lt=65_536)] | None = None
    reconnect_interval: Seconds | None = None
    max_reconnect_attempts: Annotated[int, Field(ge=0)] | None = None
    database_path: Annotated[str, Field(min_length=1)] | None = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)] | None = None
    enable_notifications: bool = False
    notification_keywords: Words = ()
    max_messages_in_memory: int | None = None
    auto_backup_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    web_refresh_interval: float | None = None

    @field_validator("websocket_url")
    @classmethod
    def _can_be_listened_to(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Source(name=MAIN, url=value)
            except ValidationError as error:
                raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return value


OWN = frozenset(Legacy.model_fields) - {"log_level"}  # keys that Fleetpulse's own file cannot have


class Converted(NamedTuple):
    """Settings as `fleetpulse.yaml` would hold them, and what is to be said about them."""

    settings: dict[str, Any]
    notes: tuple[str, ...]


def is_legacy(path: Path) -> bool:
    """Whether a configuration file is the monitor's: a `.json` with a key that only it has."""
    return path.suffix == ".json" and bool(OWN & _read(path).keys())


def convert(path: Path) -> Converted:
    """The file as settings; relative paths stay relative to the working folder. Raises ConfigError."""
    try:
        old = Legacy.model_validate(_read(path))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {_said(item)}" for item in error.errors(include_input=False)]
        raise ConfigError(f"{path}: {'; '.join(lines)}") from None
    return Converted(_settings(old), tuple(_notes(old)))


def _said(item: Any) -> str:
    """An error in words: a wrong key is a key that the file never had, or one of Fleetpulse's own."""
    if item["type"] == "extra_forbidden":
        return "is no key of config.json; settings of Fleetpulse go into fleetpulse.yaml (fleetpulse tap convert)"
    return str(item["msg"]).removeprefix("Value error, ")


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ConfigError."""
    try:
        text = COMMENT.sub(lambda found: found[1] or " ", path.read_text("utf-8-sig"))
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON (// comments are fine): {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return found


def _settings(old: Legacy) -> dict[str, Any]:
    """The settings that say the same; what the file leaves out keeps Fleetpulse's default."""
    plain = {
        "port": old.web_port,
        "data_dir": None if old.database_path is None else str(Path(old.database_path).parent),
        "log_level": old.log_level,
        "tap": _tap(old),
        "backup": None if old.auto_backup_hours is None else {"hours": old.auto_backup_hours},
    }
    return {name: value for name, value in plain.items() if value is not None}


def _tap(old: Legacy) -> dict[str, Any] | None:
    tap: dict[str, Any] = {}
    if old.websocket_url is not None:
        tap["streams"] = [_stream(old, old.websocket_url)]
    if old.notification_keywords:
        watch = {"keywords": list(old.notification_keywords), "alert": old.enable_notifications}
        tap["rules"] = [{"name": RULE} | watch]
    return tap or None


def _stream(old: Legacy, url: str) -> dict[str, Any]:
    stream: dict[str, Any] = {"name": MAIN, "url": url}
    if _is_private(url):
        stream["allow_private"] = True
    reconnect: dict[str, float] = {"first_seconds": 0}  # there is one stream: it need not wait for its turn
    if old.reconnect_interval is not None:
        reconnect["base_seconds"] = old.reconnect_interval
        if old.reconnect_interval > CAP_SECONDS:
            reconnect["cap_seconds"] = old.reconnect_interval
    if old.max_reconnect_attempts is not None:
        reconnect["max_attempts"] = old.max_reconnect_attempts
    return stream | {"reconnect": reconnect}


def _is_private(url: str) -> bool:
    """Whether an address is written as one of this machine or a private network; names are not looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _notes(old: Legacy) -> list[str]:
    """What whoever wrote the file should know."""
    said: list[str] = []
    if old.websocket_url is None:
        said.append("websocket_url is not set: nothing is recorded unless --url names a server")
    elif _is_private(old.websocket_url):
        said.append("websocket_url is private, and allowed as it is written there (tap.streams: allow_private)")
    if old.max_reconnect_attempts == 0:
        said.append("max_reconnect_attempts 0: it tries for ever (reconnect.max_attempts)")
    if old.database_path is not None:
        journal = Path(old.database_path).parent / "journal.db"
        said.append(f"database_path: its folder is used; messages are in {journal}, an older file is left alone")
    if old.notification_keywords and not old.enable_notifications:
        said.append(f"enable_notifications is off: rule {RULE} counts and marks messages, and alerts nobody")
    if old.max_messages_in_memory is not None:
        said.append(f"max_messages_in_memory {IN_MEMORY}")
    if old.web_refresh_interval is not None:
        said.append(f"web_refresh_interval {REFRESH}")
    return said
