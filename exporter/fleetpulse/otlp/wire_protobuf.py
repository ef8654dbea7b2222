"""OTLP in its binary encoding, read a few items at a time.

Only the frames of the outer messages are walked here, to find where items begin and how many there are; what is
inside is parsed by protobuf's own C code, in runs of a bounded number. So a request of too many items is refused
before memory is spent on them, and a large one holds up the event loop for one run at the most. To make a Python
object of each attribute would take longer than all the rest, and most attributes come again in every item: so they
are known by their bytes.

Field numbers: opentelemetry/proto/collector/{trace,logs}/v1, opentelemetry/proto/{trace,logs,resource}/v1.
Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

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
from fleetpulse.otlp.raw_messages import RawScopeLogs, RawScopeSpans
from fleetpulse.otlp.sorting import Sorted, Verdict, judge, sort

# A field's tag is its number and how its content is written (`BYTES`: its length comes first). Traces and logs
# number alike: a request holds resources, those hold a context and scopes, those a context and items.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH = {FIXED64: 8, FIXED32: 4}
RESOURCES = CONTEXT = 1 << 3 | BYTES
CONTENT = 2 << 3 | BYTES
FIRST_TAG, LAST_TAG = 1 << 3, 2**32 - 1
MORE = 0x80  # the bit of a varint's byte that says another follows
MAX_SHIFT = 63  # a varint has at most ten bytes
RUN_BYTES = 256 * 1024
FRAMES_PER_ITEM = 8  # so many are walked for each item allowed: enough where every item has a resource of its own
MAX_PARSED_BYTES = 2**20  # of an attribute, an event or a resource: parsed, empty messages take 25 times as much
MAX_REMEMBERED, MAX_REMEMBERED_BYTES = 8_192, 128  # attributes, and bytes of one

Range = tuple[int, int]


class _Scope(NamedTuple):
    """The messages about resource and scope, and runs of items, each a message of nothing but items."""

    resource: bytes
    context: bytes
    runs: list[bytes]


class ProtobufReader:
    """Reads bodies; remembers what attributes that come again and again are for."""

    def __init__(self) -> None:
        self._known = _Known()

    def steps(self, kind: Kind, body: bytes, most: int) -> Iterator[Step]:
        """The items of an export request, in order. Raises MalformedError, and TooLargeError past `most` items.

        Too many are found before the first step; bytes that are no such message may be found in any step.
        """
        scopes = _Frames(body, most).scopes()
        try:
            for scope in scopes:
                origin = Origin(
                    _attributes(Resource.FromString(scope.resource).attributes),
                    InstrumentationScope.FromString(scope.context).name,
                )
                for run in scope.runs:
                    yield Step(origin, self._items(kind, run))
        except DecodeError as error:
            raise MalformedError(f"the body is not the protobuf message that belongs here: {error}") from error

    def _items(self, kind: Kind, run: bytes) -> list[Span] | list[Record]:
        if kind == TRACES:
            return [self._span(span) for span in RawScopeSpans.FromString(run).spans]
        return [self._record(record) for record in RawScopeLogs.FromString(run).log_records]

    def _span(self, span: Any) -> Span:
        status, events = span.status, span.events
        return Span(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.name,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            self._sorted(span.attributes),
            status.code == Status.STATUS_CODE_ERROR,
            status.message,
            tuple(_event(raw) for raw in events[-MAX_EVENTS:] if len(raw) <= MAX_PARSED_BYTES) if events else (),
        )

    def _record(self, record: Any) -> Record:
        return Record(
            record.trace_id.hex(),
            record.span_id.hex(),
            bool(record.flags & SAMPLED),
            record.event_name,
            record.time_unix_nano or record.observed_time_unix_nano,
            self._sorted(record.attributes),
        )

    def _sorted(self, attributes: Sequence[bytes]) -> Sorted | None:
        """An item's attributes by what they are for; None where there are more than may be read."""
        return sort(list(map(self._known.__getitem__, attributes))) if len(attributes) <= MAX_ATTRIBUTES else None


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
        for tag, _, start, end in self._fields(0, len(body)):
            if tag == RESOURCES:
                resource, scopes = self._context_and_content(start, end)
                found += [self._scope(resource, *each) for each in scopes]
        return [scope for scope in found if scope.runs]

    def _scope(self, resource: bytes, start: int, end: int) -> _Scope:
        context = b""
        runs = _Runs(self._body)
        for tag, at, inner, stop in self._fields(start, end):
            if tag == CONTENT:
                self._items_left -= 1
                if self._items_left < 0:
                    raise self._too_many()
                runs.add(at, stop)
            elif tag == CONTEXT:
                context += self._body[inner:stop]  # twice the same field means: merge, and so does joining them
        if max(len(resource), len(context)) > MAX_PARSED_BYTES:
            raise TooLargeError(f"a resource or a scope of more than {MAX_PARSED_BYTES} bytes")
        return _Scope(resource, context, runs.all())

    def _context_and_content(self, start: int, end: int) -> tuple[bytes, list[Range]]:
        context, content = b"", []
        for tag, _, inner, stop in self._fields(start, end):
            if tag == CONTENT:
                content.append((inner, stop))
            elif tag == CONTEXT:
                context += self._body[inner:stop]
        return context, content

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Each field between two places: its tag, where it begins, where its content begins and ends."""
        while at < end:
            self._frames_left -= 1
            if self._frames_left < 0:
                raise self._too_many()
            tag, start, stop = _frame(self._body, at, end)
            yield tag, at, start, stop
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
        """Adds the item whose field lies between two places."""
        full = self._count == STEP_ITEMS or self._end - self._start >= RUN_BYTES
        if full or start != self._end:
            self._close()
            self._start = start
        self._end = end
        self._count += 1

    def all(self) -> list[bytes]:
        """The runs of everything that was added."""
        self._close()
        return self._done

    def _close(self) -> None:
        if self._count:
            self._done.append(self._body[self._start : self._end])
        self._count = 0


def _frame(body: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The field that begins at a place: its tag, where its content begins and ends. Raises MalformedError."""
    tag, start = _varint(body, at, end)
    wire = tag & 7
    if wire == BYTES:
        length, start = _varint(body, start, end)
        stop = start + length
    elif wire == VARINT:
        _, stop = _varint(body, start, end)
    else:
        stop = start + WIDTH.get(wire, len(body))
    if stop > end or not FIRST_TAG <= tag <= LAST_TAG:
        raise MalformedError(f"the body is not protobuf: no whole field begins at byte {at}")
    return tag, start, stop


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """A base-128 number and the place after it."""
    value = shift = 0
    while at < end and shift <= MAX_SHIFT:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < MORE:
            return value, at
        shift += 7
    raise MalformedError(f"the body is not protobuf: no number ends at byte {at}")


class _Known(dict[bytes, Verdict]):
    """What attributes are for, by their bytes. Short ones are remembered, up to a number, the newest longest."""

    def __init__(self) -> None:
        super().__init__()
        self._older: dict[bytes, Verdict] = {}

    def __missing__(self, raw: bytes) -> Verdict:
        verdict = self._older.get(raw) or _judged(raw)
        if len(raw) <= MAX_REMEMBERED_BYTES:
            if len(self) >= MAX_REMEMBERED:
                self._older = dict(self)
                self.clear()
            self[raw] = verdict
        return verdict


def _event(raw: bytes) -> Event:
    event = SpanMessage.Event.FromString(raw)
    return Event(event.name, _attributes(event.attributes))


def _judged(raw: bytes) -> Verdict:
    pair = KeyValue.FromString(raw if len(raw) <= MAX_PARSED_BYTES else b"")
    value = pair.value  # most are texts and numbers other than 0: reading those is quicker than asking which it is
    return judge(pair.key, value.string_value or value.int_value or _plain(value))


def _attributes(pairs: Sequence[KeyValue]) -> Attributes:
    """Plain attributes, no more than may be read."""
    return {pair.key: _plain(pair.value) for pair in pairs[:MAX_ATTRIBUTES]}


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
