"""Turns a file's records into request logs: which column is which field, constants, presets, identities.

Fields come, strongest first, from `--set`, then from the file's column (by `--map`, else of the field's own name),
then from the preset. A value that does not parse is sent as it stands: the exporter says what is wrong with it.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from fleetpulse.errors import InvalidInputError
from fleetpulse.replay.source import Record, Source
from fleetpulse.signals import RequestLog

FIELDS = tuple(RequestLog.model_fields)
INTEGERS = frozenset({"tokens_used", "input_tokens", "output_tokens", "cached_tokens"})
NUMBERS = frozenset({"execution_time", "cost"})
REQUIRED = ("source", "status", "execution_time")
EPOCH_MILLISECONDS_FROM = 1e11  # as seconds, this lies in the year 5138


@dataclass(frozen=True)
class Preset:
    """A known kind of file: recognised by its columns, it brings a mapping and defaults of its own."""

    name: str
    columns: frozenset[str]
    mapping: Mapping[str, str]
    defaults: Mapping[str, Any]


PRESETS = (
    Preset(
        "Azure LLM inference trace",
        frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}),
        {"timestamp": "TIMESTAMP", "input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"},
        {"status": "success", "execution_time": 0.0},
    ),
)


@dataclass(frozen=True)
class Shape:
    """How the records of one file become request logs."""

    id_prefix: str
    columns: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None

    def request(self, record: Record) -> dict[str, Any]:
        """The request log of a record, ready for JSON; times as RFC 3339, UTC where no zone is given."""
        item = {"request_id": f"{self.id_prefix}-{record.number}", **self.defaults}
        for name, column in self.columns.items():
            value = record.fields.get(column)
            if value is not None and value != "":
                item[name] = _convert(name, value)
        item.update(self.constants)
        return item


def shape_of(
    source: Source,
    mapping: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    *,
    id_prefix: str = "replay",
) -> Shape:
    """Chooses the shape for a file; raises InvalidInputError that names the wrong or missing field."""
    mapping, constants = mapping or {}, constants or {}
    for name in (*mapping, *constants):
        _check_field(name)
    preset = next((one for one in PRESETS if one.columns <= set(source.columns)), None)
    shape = Shape(
        f"{id_prefix}-{source.digest}",
        {name: name for name in FIELDS} | dict(preset.mapping if preset else {}) | dict(mapping),
        {name: _convert(name, value) for name, value in constants.items()},
        preset.defaults if preset else {},
        preset.name if preset else None,
    )
    if source.format == "csv":
        _check_columns(source, mapping, shape)
    return shape


def pairs(option: str, values: list[str], key: str) -> dict[str, str]:
    """Reads `field=VALUE` arguments; raises InvalidInputError on one that is not of that form."""
    found = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            raise InvalidInputError(f"{option} {value}: write {option} {key}")
        found[name] = rest
    return found


def parse_time(value: Any) -> datetime | None:
    """A time in ISO 8601 (a space for the T, any number of decimals) or Unix seconds or milliseconds; else None."""
    try:
        return _from_epoch(float(value))
    except (TypeError, ValueError):
        pass
    except (OverflowError, OSError):
        return None
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC."""
    return moment.isoformat().replace("+00:00", "Z")


def _from_epoch(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds / 1000 if seconds > EPOCH_MILLISECONDS_FROM else seconds, UTC)


def _time_text(value: Any) -> Any:
    moment = parse_time(value)
    return value if moment is None else format_time(moment)


def _integer(value: Any) -> Any:
    """Exact for integers of any size; a float form such as 374.0 counts where it is whole."""
    try:
        return int(value) if not isinstance(value, float) else _whole(value)
    except ValueError:
        return _whole(float(value), value)


def _whole(number: float, otherwise: Any = None) -> Any:
    return int(number) if number.is_integer() else (number if otherwise is None else otherwise)


def _number(value: Any) -> Any:
    """JSON has no NaN or infinity: those stay text, for the exporter to reject."""
    number = float(value)
    return number if math.isfinite(number) else str(value)


def _metadata(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "timestamp": _time_text,
    "metadata": _metadata,
    **dict.fromkeys(INTEGERS, _integer),
    **dict.fromkeys(NUMBERS, _number),
}


def _convert(name: str, value: Any) -> Any:
    """The value in its field's type, or as it stands where it does not parse."""
    if isinstance(value, bool | dict | list):
        return value
    try:
        return _CONVERTERS.get(name, str)(value)
    except (TypeError, ValueError, OverflowError):
        return value


def _check_field(name: str) -> None:
    if name in FIELDS:
        return
    near = difflib.get_close_matches(name, FIELDS, 1)
    hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(FIELDS)}"
    raise InvalidInputError(f"request logs have no field {name!r}; {hint}")


def _check_columns(source: Source, mapping: Mapping[str, str], shape: Shape) -> None:
    there = f"{source.path} has the columns {', '.join(source.columns)}"
    for name, column in mapping.items():
        if column not in source.columns:
            raise InvalidInputError(f"--map {name}={column}: {there}")
    for name in REQUIRED:
        given = name in shape.constants or name in shape.defaults or shape.columns[name] in source.columns
        if not given:
            raise InvalidInputError(
                f"nothing says the {name}: add --set {name}=VALUE or --map {name}=COLUMN ({there})"
            )
