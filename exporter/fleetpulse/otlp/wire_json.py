"""OTLP in its JSON encoding, read into the same plain items as the binary one.

Ids are hex, 64-bit numbers are texts or numbers, enums are numbers, unknown fields are ignored, and null is as good
as nothing: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding and protobuf's own JSON mapping.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from fleetpulse.errors import MalformedError, TooLargeError
from fleetpulse.otlp.plain import (
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    MAX_EVENTS,
    SAMPLED,
    STEP_ITEMS,
    TRACES,
    Attributes,
    Event,
    Kind,
    Origin,
    Record,
    Span,
    Step,
)
from fleetpulse.otlp.sorting import Sorted, judge, sort

Json = dict[str, Any]

NAMES = {TRACES: ("resourceSpans", "scopeSpans", "spans"), "logs": ("resourceLogs", "scopeLogs", "logRecords")}
FAILED = 2  # Status.STATUS_CODE_ERROR
UINT64, INT64, UINT32, INT32 = range(2**64), range(-(2**63), 2**63), range(2**32), range(-(2**31), 2**31)
MAX_NODES = 2_000_000  # 16 MiB of OTLP have a quarter of that
NUMBER = re.compile(r"-?[0-9]{1,20}")
HEX = re.compile(r"(?:[0-9a-f]{2})*", re.IGNORECASE)
ODD_DOUBLES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def steps(kind: Kind, body: bytes, most: int) -> Iterator[Step]:
    """The items of an export request, in order. Raises MalformedError, and TooLargeError past `most` items.

    Too many are found before the first step; what is none of these messages may be found in any step.
    """
    if body.count(b"{") + body.count(b"[") > MAX_NODES:  # before they take a hundred times the memory of the body
        raise TooLargeError(f"more than {MAX_NODES} objects and arrays in one request")
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    for origin, items in _scopes(kind, request, most):
        for start in range(0, len(items), STEP_ITEMS):
            run = items[start : start + STEP_ITEMS]
            yield Step(origin, [_span(each) for each in run] if kind == TRACES else [_record(each) for each in run])


def _scopes(kind: Kind, request: Any, most: int) -> list[tuple[Origin, list[Any]]]:
    """The items of each scope. Resources and scopes may be as many as items, as they may each hold one."""
    of_request, of_resource, of_scope = NAMES[kind]
    found: list[tuple[Origin, list[Any]]] = []
    count = 0
    for resource in map(_object, _bounded(_list(_object(request), of_request), most)):
        attributes = _attributes(_object(resource.get("resource")))
        for scope in map(_object, _bounded(_list(resource, of_resource), most - len(found))):
            items = _list(scope, of_scope)
            found.append((Origin(attributes, _text(_object(scope.get("scope")), "name")), items))
            count += len(items)
    if count > most:
        raise _too_many(most)
    return found


def _bounded(found: list[Any], most: int) -> list[Any]:
    if len(found) > most:
        raise _too_many(most)
    return found


def _too_many(most: int) -> TooLargeError:
    return TooLargeError(f"more than {most} items in one request (limits.batch_items)")


def _span(item: Any) -> Span:
    span = _object(item)
    status = _object(span.get("status"))
    return Span(
        _id(span, "traceId"),
        _id(span, "spanId"),
        _text(span, "name"),
        _integer(span, "startTimeUnixNano", UINT64),
        _integer(span, "endTimeUnixNano", UINT64),
        _sorted(span),
        _integer(status, "code", INT32) == FAILED,
        _text(status, "message"),
        tuple(_event(event) for event in _list(span, "events")[-MAX_EVENTS:]),
    )


def _event(item: Any) -> Event:
    event = _object(item)
    return Event(_text(event, "name"), _attributes(event))


def _record(item: Any) -> Record:
    record = _object(item)
    return Record(
        _id(record, "traceId"),
        _id(record, "spanId"),
        bool(_integer(record, "flags", UINT32) & SAMPLED),
        _text(record, "eventName"),
        _integer(record, "timeUnixNano", UINT64) or _integer(record, "observedTimeUnixNano", UINT64),
        _sorted(record),
    )


def _sorted(of: Json) -> Sorted | None:
    """Attributes by what they are for; None where there are more than may be read."""
    pairs = _list(of, "attributes")
    return sort([judge(*_pair(each)) for each in pairs]) if len(pairs) <= MAX_ATTRIBUTES else None


def _attributes(of: Json) -> Attributes:
    """Plain attributes, no more than may be read."""
    return dict(_pair(each) for each in _list(of, "attributes")[:MAX_ATTRIBUTES])


def _pair(item: Any, depth: int = MAX_DEPTH) -> tuple[str, Any]:
    pair = _object(item)
    return _text(pair, "key"), _plain(pair.get("value"), depth)


def _plain(value: Any, depth: int) -> Any:
    """An AnyValue: the last of its fields that is set, as protobuf has it where several of one are."""
    if value is None or not depth:
        return None
    plain = None
    for name, field in _object(value).items():
        reader = _READERS.get(name)
        if reader is not None and field is not None:
            plain = reader(value, name, depth - 1)
    return plain


def _boolean(of: Json, name: str, _: int) -> bool:
    if not isinstance(of[name], bool):
        raise _wrong(name, "true or false")
    return bool(of[name])


def _double(of: Json, name: str, _: int) -> float:
    value = of[name]
    if isinstance(value, str):
        if value in ODD_DOUBLES:
            return ODD_DOUBLES[value]
        try:
            return float(value)
        except ValueError:
            raise _wrong(name, "a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number")
    return float(value)


def _array(of: Json, name: str, depth: int) -> list[Any]:
    return [_plain(each, depth) for each in _list(_object(of[name]), "values")[:MAX_ATTRIBUTES]]


def _pairs(of: Json, name: str, depth: int) -> Attributes:
    return dict(_pair(each, depth) for each in _list(_object(of[name]), "values")[:MAX_ATTRIBUTES])


_READERS: dict[str, Callable[[Json, str, int], Any]] = {
    "stringValue": lambda of, name, _: _text(of, name),
    "boolValue": _boolean,
    "intValue": lambda of, name, _: _integer(of, name, INT64),
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _pairs,
    "bytesValue": lambda _of, _name, _depth: None,
}


# Fields, each with what protobuf takes for "not set" ------------------------------------------------------------
def _object(value: Any) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError("the body is not OTLP: something else stands where an object belongs")
    return value


def _list(of: Json, name: str) -> list[Any]:
    value = of.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(name, "an array")
    return value


def _text(of: Json, name: str) -> str:
    value = of.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(name, "text")
    return value


def _integer(of: Json, name: str, within: range) -> int:
    value = of.get(name)
    if value is None:
        return 0
    if (isinstance(value, str) and NUMBER.fullmatch(value)) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in within:
        raise _wrong(name, f"a whole number from {within.start} to {within.stop - 1}")
    return value


def _id(of: Json, name: str) -> str:
    value = _text(of, name)
    if not HEX.fullmatch(value):
        raise _wrong(name, "hexadecimal digits, two for each byte")
    return value.lower()


def _wrong(name: str, what: str) -> MalformedError:
    return MalformedError(f"the body is not OTLP: {name} must be {what}")
