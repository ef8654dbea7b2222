"""OTLP in its binary encoding, read a few items at a time.

Only the frames of the outer messages are walked here, to find where items begin and how many there are; what is
inside is parsed by protobuf's own C code, in runs of a bounded number. So a request of too many items is refused
before memory is spent on them, and a large one holds up the event loop for one run at the most.

Field numbers: opentelemetry/proto/collector/{trace,logs}/v1, opentelemetry/proto/{trace,logs,resource}/v1.
Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

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

# Traces and logs number alike: a request holds resources, those a context and scopes, those a context and items.
RESOURCES, CONTEXT, CONTENT = 1, 1, 2
RUN_BYTES = 256 * 1024
FRAMES_PER_ITEM = 8  # so many are walked for each item allowed: enough where every item has a resource of its own
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH = {FIXED64: 8, FIXED32: 4}
MAX_SHIFT = 63  # a varint has at most ten bytes

Range = tuple[int, int]


class _Scope(NamedTuple):
    """The items of one scope: its own message, and runs of items, each a message of nothing but items."""

    resource: bytes
    context: bytes
    runs: list[bytes]


def steps(kind: Kind, body: bytes, most: int) -> Iterator[Step]:
    """The items of an export request, in order. Raises MalformedError, and TooLargeError past `most` items.

    Too many are found before the first step; bytes that are no such message may be found in any step.
    """
    scopes = _Frames(body, most).scopes()
    try:
        for scope in scopes:
            origin = Origin(
                _attributes(Resource.FromString(scope.resource).attributes) or {},
                InstrumentationScope.FromString(scope.context).name,
            )
            for run in scope.runs:
                yield Step(origin, _spans(run) if kind == TRACES else _records(run))
    except DecodeError as error:
        raise MalformedError(f"the body is not the protobuf message that belongs here: {error}") from error


class _Frames:
    """Walks the frames of one body, within a bound on their number."""

    def __init__(self, body: bytes, most: int) -> None:
        self._body = body
        self._most = most
        self._items_left = most
        self._frames_left = most * FRAMES_PER_ITEM

    def scopes(self) -> list[_Scope]:
        """Every scope that has items."""
        body = self._body
        found = []
        for number, _, start, end in self._fields(0, len(body)):
            if number == RESOURCES:
                resource, scopes = self._context_and_content(start, end)
                found += [self._scope(resource, *each) for each in scopes]
        return [scope for scope in found if scope.runs]

    def _scope(self, resource: bytes, start: int, end: int) -> _Scope:
        context = b""
        runs = _Runs(self._body)
        for number, at, inner, stop in self._fields(start, end):
            if number == CONTENT:
                self._items_left -= 1
                if self._items_left < 0:
                    raise self._too_many()
                runs.add(at, stop)
            elif number == CONTEXT:
                context += self._body[inner:stop]  # twice the same field means: merge, and so does joining them
        return _Scope(resource, context, runs.all())

    def _context_and_content(self, start: int, end: int) -> tuple[bytes, list[Range]]:
        context, content = b"", []
        for number, _, inner, stop in self._fields(start, end):
            if number == CONTENT:
                content.append((inner, stop))
            elif number == CONTEXT:
                context += self._body[inner:stop]
        return context, content

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Each field between two places: number, where it begins, where its content begins and ends."""
        body = self._body
        while at < end:
            self._frames_left -= 1
            if self._frames_left < 0:
                raise self._too_many()
            tag, start = _varint(body, at, end)
            wire = tag & 7
            if wire == BYTES:
                length, start = _varint(body, start, end)
                stop = start + length
            elif wire == VARINT:
                _, stop = _varint(body, start, end)
            elif wire in WIDTH:
                stop = start + WIDTH[wire]
            else:
                raise MalformedError(f"the body is not protobuf: byte {at} begins no field")
            if stop > end:
                raise MalformedError(f"the body is not protobuf: the field at byte {at} is cut off")
            yield tag >> 3 if wire == BYTES else 0, at, start, stop  # what is read here is length-delimited
            at = stop

    def _too_many(self) -> TooLargeError:
        return TooLargeError(f"more than {self._most} items in one request (limits.batch_items)")


class _Runs:
    """Joins neighbouring items to runs of at most STEP_ITEMS and about RUN_BYTES."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._done: list[bytes] = []
        self._start = self._end = self._count = 0

    def add(self, start: int, end: int) -> None:
        full = self._count == STEP_ITEMS or self._end - self._start >= RUN_BYTES
        if full or start != self._end:
            self._close()
            self._start = start
        self._end = end
        self._count += 1

    def all(self) -> list[bytes]:
        self._close()
        return self._done

    def _close(self) -> None:
        if self._count:
            self._done.append(self._body[self._start : self._end])
        self._count = 0


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """A base-128 number and the place after it."""
    value = shift = 0
    while at < end and shift <= MAX_SHIFT:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says there is more
            return value, at
        shift += 7
    raise MalformedError(f"the body is not protobuf: no number ends at byte {at}")


def _spans(run: bytes) -> list[Span]:
    return [_span(span) for span in ScopeSpans.FromString(run).spans]


def _span(span: SpanMessage) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        span.status.code == Status.STATUS_CODE_ERROR,
        span.status.message,
        tuple(_event(event) for event in span.events[-MAX_EVENTS:]) if span.events else (),
    )


def _event(event: SpanMessage.Event) -> Event:
    return Event(event.name, _attributes(event.attributes) or {})


def _records(run: bytes) -> list[Record]:
    return [_record(record) for record in ScopeLogs.FromString(run).log_records]


def _record(record: LogRecord) -> Record:
    return Record(
        record.trace_id.hex(),
        record.span_id.hex(),
        bool(record.flags & SAMPLED),
        record.event_name,
        record.time_unix_nano or record.observed_time_unix_nano,
        _attributes(record.attributes),
    )


def _attributes(pairs: Sequence[KeyValue]) -> Attributes | None:
    """Plain attributes; None where there are more than may be read."""
    if len(pairs) > MAX_ATTRIBUTES:
        return None
    # Most values are texts and numbers other than 0: for those, asking which kind it is costs more than reading.
    return {
        pair.key: pair.value.string_value or pair.value.int_value or pair.value.double_value or _plain(pair.value)
        for pair in pairs
    }


def _plain(value: AnyValue, depth: int = MAX_DEPTH) -> Any:
    kind = value.WhichOneof("value")
    reader = _READERS.get(kind) if kind and depth else None
    return reader(value, depth - 1) if reader else None


_READERS: dict[str, Callable[[AnyValue, int], Any]] = {
    "string_value": lambda value, _: value.string_value,
    "bool_value": lambda value, _: value.bool_value,
    "int_value": lambda value, _: value.int_value,
    "double_value": lambda value, _: value.double_value,
    "array_value": lambda value, depth: [_plain(each, depth) for each in value.array_value.values[:MAX_ATTRIBUTES]],
    "kvlist_value": lambda value, depth: {
        pair.key: _plain(pair.value, depth) for pair in value.kvlist_value.values[:MAX_ATTRIBUTES]
    },
}
