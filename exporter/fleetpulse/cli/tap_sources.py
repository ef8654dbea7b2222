"""What `fleetpulse tap`'s options say, as streams and rules: those of the configuration, and one of the options."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fleetpulse.config import Rule, Settings, Source
from fleetpulse.config.tap import MAIN
from fleetpulse.errors import InvalidInputError

M = TypeVar("M", bound=BaseModel)
OPTIONS = {
    "header_files": "--header-file",
    "headers": "--header",
    "subprotocols": "--subprotocol",
    "on_connect": "--send",
    "paths": "--path",
    "tls": "--ca-file",
    "secrets": "--secret",
    "max_attempts": "--max-attempts",
    "max_seconds": "--max-seconds",
    "keywords": "--keyword",
    "users": "--user",
}
NOTHING = """there is nothing to listen to. Name a server, or streams of a configuration file:
  fleetpulse tap --url wss://chat.example.org/ws
  fleetpulse tap --config fleetpulse.yaml --stream NAME"""


@dataclass(frozen=True)
class Server:
    """The server that options describe; what is None or empty was not given."""

    url: str | None = None
    name: str | None = None
    headers: Sequence[str] = ()
    header_files: Sequence[str] = ()
    secrets: Sequence[str] = ()
    subprotocols: Sequence[str] = ()
    send: Sequence[str] = ()
    send_files: Sequence[Path] = ()
    preset: str | None = None
    paths: Sequence[str] = ()
    allow_private: bool = False
    insecure: bool = False
    ca_file: Path | None = None
    proxy: str | None = None
    compression: bool = True
    max_attempts: int | None = None
    max_seconds: float | None = None

    def fields(self) -> dict[str, Any]:
        """A stream's settings, those that were given. Raises InvalidInputError."""
        sent = [{"text": each} for each in self.send] + [{"file": each} for each in self.send_files]
        retry = {"max_attempts": self.max_attempts, "max_seconds": self.max_seconds}
        tls = {"ca_file": self.ca_file, "verify": False if self.insecure else None}
        given = {
            "url": self.url,
            "headers": headers(self.headers),
            "header_files": pairs("--header-file", self.header_files, "NAME=PATH"),
            "secrets": pairs("--secret", self.secrets, "NAME=PATH"),
            "subprotocols": self.subprotocols,
            "on_connect": sent,
            "preset": self.preset,
            "paths": paths(self.paths),
            "allow_private": self.allow_private,
            "tls": _given(tls),
            "proxy": self.proxy,
            "reconnect": _given(retry),
        }
        chosen = {name: value for name, value in given.items() if value}
        return chosen if self.compression else chosen | {"compression": False}


def streams(settings: Settings | None, names: Sequence[str], server: Server) -> tuple[Source, ...]:
    """What to listen to: the configured streams, all or the named ones, and the options' server.

    Options of a server go to the configured stream of its name (`--name`, else `main`), where there is one; a url
    then replaces its own. Raises InvalidInputError.
    """
    configured = {each.name: each for each in settings.tap.streams} if settings else {}
    if missing := [each for each in names if each not in configured]:
        known = ", ".join(configured) or "none"
        raise InvalidInputError(f"--stream {missing[0]}: there is no such stream; configured are: {known}")
    chosen = {each.name: each for each in configured.values() if (each.name in names if names else each.enabled)}
    fields, name = server.fields(), server.name or MAIN
    if fields:
        found = chosen.get(name)
        if found is None and server.url is None:
            raise InvalidInputError(f"{_first_option(fields)}: it belongs to a server: give its --url")
        chosen[name] = _merged(found, fields) if found else _fresh(name, fields)
    if not chosen:
        raise InvalidInputError(NOTHING)
    return tuple(chosen.values())


def rules(
    settings: Settings | None, keywords: Sequence[str], patterns: Sequence[str], users: Sequence[str]
) -> tuple[Rule, ...]:
    """What to look for: the configured rules, and those of the options: `keywords`, `pattern`, `users`."""
    made = [{"name": "keywords", "keywords": keywords}] if keywords else []
    named = ("pattern", *(f"pattern-{number}" for number in range(2, len(patterns) + 1)))
    made += [{"name": name, "pattern": each} for name, each in zip(named, patterns, strict=False)]
    made += [{"name": "users", "users": users}] if users else []
    given = [_valid(Rule, each) for each in made]
    own = {each.name for each in given}
    kept = [each for each in settings.tap.rules if each.name not in own] if settings else []
    return (*kept, *given)


def headers(lines: Iterable[str]) -> dict[str, str]:
    """`Name: value` lines. Raises InvalidInputError, without the value: it may be a secret."""
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidInputError("--header: write NAME: VALUE, such as --header 'Authorization: Bearer abc'")
        found[name.strip()] = value.strip()
    return found


def pairs(option: str, values: Iterable[str], form: str) -> dict[str, str]:
    """`NAME=VALUE` pairs. Raises InvalidInputError."""
    found = {}
    for each in values:
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise InvalidInputError(f"{option} {each}: write {form}")
        found[name] = value
    return found


def paths(values: Iterable[str]) -> dict[str, list[str]]:
    """`field=JSONPath` pairs; a field may be given again, the first path that finds something counts."""
    found: dict[str, list[str]] = {}
    for each in values:
        name, equals, path = each.partition("=")
        if not (equals and path):
            raise InvalidInputError(f"--path {each}: write FIELD=PATH, such as --path 'text=$.data.body'")
        found.setdefault(name, []).append(path)
    return found


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _fresh(name: str, fields: dict[str, Any]) -> Source:
    """A stream of the options alone: it connects at once, as somebody waits for it."""
    reconnect = {"first_seconds": 0} | fields.get("reconnect", {})
    return _valid(Source, {"name": name} | fields | {"reconnect": reconnect})


def _merged(found: Source, fields: dict[str, Any]) -> Source:
    """A configured stream with what the options say instead."""
    own = {name: getattr(found, name) for name in type(found).model_fields}
    nested = {
        name: {key: getattr(own[name], key) for key in type(own[name]).model_fields} | fields[name]
        for name in ("tls", "reconnect", "paths")
        if name in fields
    }
    return _valid(Source, own | fields | nested | {"enabled": True})


def _first_option(fields: Mapping[str, Any]) -> str:
    name = next(iter(fields))
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _valid(model: type[M], fields: Mapping[str, Any]) -> M:
    """The model; what is wrong is said of the option, without its value, which may be a secret."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        raise InvalidInputError("; ".join(map(_said, wrong))) from None


def _said(item: Any) -> str:
    place = [str(each) for each in item["loc"]]
    option = next((OPTIONS[each] for each in reversed(place) if each in OPTIONS), f"--{(place or ['option'])[0]}")
    if item["type"] == "extra_forbidden":
        return f"{option} {place[-1]}: there is no such field"
    return f"{option}: {str(item['msg']).removeprefix('Value error, ')}"
