"""Prints docs/configuration.md from the Settings model (how: the page's first comment).

A test compares the page with what this prints, so a setting cannot be added without its description.
"""

import inspect
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from fleetpulse.config import Budget, LocalPrice, Section, Settings
from fleetpulse.config.alerting import Alerting
from fleetpulse.config.notifications import Notifications
from fleetpulse.config.tap import Tap
from fleetpulse.sinks.variables import READ

PREFACE = """\
# Configuration

<!-- Generated: python tools/configuration_page.py > docs/configuration.md -->

Everything has a default that works; nothing needs to be configured to start. Settings are read, each winning over
the one before:

1. the defaults below,
2. the file that `FLEETPULSE_CONFIG` names, else `fleetpulse.yaml` in the working directory, where there is one,
3. environment variables,
4. options of the command (`fleetpulse serve --port 8002`).

In the environment a setting of a section is written with two underscores: `limits.sources` is
`FLEETPULSE_LIMITS__SOURCES`. Lists and objects are written there as JSON:
`FLEETPULSE_AUTH__ALLOWED_ORIGINS='["https://ops.example.com"]'`. In the file, sections are nested:

```yaml
port: 8002
timezone: Asia/Shanghai
limits:
  sources: 200
budgets:
  - {name: daily, limit_usd: 25}
  - {name: telegram, limit_usd: 300, period: month, source: telegram}
prices:
  - {model: our-llama-*, input_usd_per_million: 0.2, output_usd_per_million: 0.6}
```

An unknown name in the file, or a value out of its bounds, stops the start with a message that names it;
`fleetpulse check` looks without starting. A change takes effect at the next start, except for app keys, which are
noticed within a second.

These variables are for the commands that call a running exporter (`demo`, `replay`, `agent`, `report`), not for the
exporter: `FLEETPULSE_URL` (default: host and port below), and as credentials `FLEETPULSE_APP_KEY` with
`FLEETPULSE_APP_SECRET`, or `FLEETPULSE_TOKEN`. The [client library](client.md) reads them, too, and
`FLEETPULSE_SOURCE`, `FLEETPULSE_SPOOL` and `FLEETPULSE_ENABLED`. `FLEETPULSE_IMAGE` names docker-compose's image of
the exporter, and `FLEETPULSE_TOOLS` the folder in which the tests look for Prometheus and Alertmanager (default
`.tools`).

What credentials are for: [security.md](security.md). What can be set in docker-compose: [docker.md](docker.md).
"""
OPENTELEMETRY = """\
OpenTelemetry's own variables say where log records and spans are sent ([opentelemetry.md](opentelemetry.md#out)). A
signal is off unless an endpoint is set for it. Each `OTEL_EXPORTER_OTLP_…` may be set for one signal alone:
`OTEL_EXPORTER_OTLP_LOGS_HEADERS`, `OTEL_EXPORTER_OTLP_TRACES_HEADERS`. A value that cannot work stops the start.

| variable | default | what it does |
|---|---|---|
"""
KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
    AwareDatetime: "time",
    Budget: "budget",
    LocalPrice: "price",
}


def page() -> str:
    """The whole page."""
    plain = {name: field for name, field in Settings.model_fields.items() if _section(field) is None}
    parts = [PREFACE, _table("## General", "", plain, "FLEETPULSE_")]
    for name, field in Settings.model_fields.items():
        section = _section(field)
        if section is not None:
            heading = f"## `{name}`\n\n{section.__doc__}"
            parts.append(_table(heading, f"{name}.", section.model_fields, f"FLEETPULSE_{name.upper()}__"))
        if name == "otlp_out":
            parts.append(_standard_variables())
    parts += [_list_table("budgets", Budget), _list_table("prices", LocalPrice)]
    parts += [_list_table(f"alerting.{name}", item) for name, item in _items(Alerting)]
    parts += [_list_table(f"notifications.{name}", item) for name, item in _items(Notifications)]
    parts += [table for name, item in _items(Tap) for table in _with_parts(f"tap.{name}", item)]
    return "\n".join(parts)


def _with_parts(setting: str, item: type[BaseModel]) -> Iterator[str]:
    """The table of a list's objects, and one of each object within them."""
    yield _list_table(setting, item)
    for name, field in item.model_fields.items():
        inner = _object_in(field.annotation)
        if inner is not None:
            heading = f"## `{name}` of `{setting}`\n\n{inspect.getdoc(inner)}\n"
            yield "\n".join([heading, *_field_rows(inner)]) + "\n"


def _object_in(annotation: Any) -> type[BaseModel] | None:
    """The object that a value is, or holds a list of."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
        if each is not annotation and (found := _object_in(each)) is not None:
            return found
    return None


def _items(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The settings that are lists of objects, with what they hold."""
    for name, field in section.model_fields.items():
        item = next(iter(get_args(field.annotation)), None)
        if isinstance(item, type) and issubclass(item, BaseModel):
            yield name, item


def _standard_variables() -> str:
    rows = [f"| `{name}` | {f'`{default}`' if default else '(none)'} | {what} |" for name, default, what in READ]
    return OPENTELEMETRY + "\n".join(rows) + "\n"


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _table(heading: str, prefix: str, fields: dict[str, FieldInfo], variable: str) -> str:
    rows = [f"{heading}\n", "| setting | variable | default | values | what it does |", "|---|---|---|---|---|"]
    for name, field in fields.items():
        cells = (f"`{prefix}{name}`", f"`{variable}{name.upper()}`", _default(field), _values(field))
        rows.append(f"| {' | '.join(cells)} | {_description(name, field)} |")
    return "\n".join(rows) + "\n"


def _list_table(setting: str, item: type[BaseModel]) -> str:
    return "\n".join([f"## One of `{setting}`\n\n{inspect.getdoc(item)}\n", *_field_rows(item)]) + "\n"


def _field_rows(item: type[BaseModel]) -> list[str]:
    rows = ["| field | default | values | what it is |", "|---|---|---|---|"]
    for name, field in item.model_fields.items():
        rows.append(
            f"| `{field.alias or name}` | {_default(field)} | {_values(field)} | {_description(name, field)} |"
        )
    return rows


def _description(name: str, field: FieldInfo) -> str:
    if not field.description:
        sys.exit(f"{name}: the setting has no description")
    return field.description.replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    value = field.default
    if value is None or value in ((), {}):
        return "(none)"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`" if all(isinstance(each, str) for each in value) else "see below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _values(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    bounds = ", ".join(dict.fromkeys([*_bounds(field.metadata), *_bounds(_nested_metadata(field.annotation))]))
    return f"{kind}, {bounds}" if bounds else kind


def _kind(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin is Annotated:
        return _kind(args[0])
    if origin in (Union, types.UnionType):
        return _kind(next(arg for arg in args if arg is not type(None)))
    if origin in (tuple, dict):
        return f"list of {_kind(args[0])}" if origin is tuple else _mapping(args[1])
    if annotation not in KINDS and issubclass(annotation, Section):
        return "object, see below"
    return KINDS[annotation]


def _mapping(value: Any) -> str:
    return f"names, each with a {KINDS[value]}" if value in KINDS else "object of objects"


def _nested_metadata(annotation: Any) -> list[Any]:
    return [item for arg in get_args(annotation) for item in getattr(arg, "__metadata__", ())]


def _bounds(metadata: list[Any]) -> Iterator[str]:
    signs = {"gt": "over", "ge": "at least", "lt": "under", "le": "at most"}
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _bounds(item.metadata)
        for name, words in signs.items():
            if (value := getattr(item, name, None)) is not None:
                yield f"{words} {value:g}"


if __name__ == "__main__":
    sys.stdout.write(page())
