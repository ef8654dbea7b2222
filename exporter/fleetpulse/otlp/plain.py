"""What both encodings are read into: spans and log records of plain Python values.

An attribute's value is text, a number, a boolean, a list or a dict of those, or None for what cannot be kept
(bytes, and whatever is nested too deep). Times are Unix nanoseconds, 0 where there is none; ids are lower-case hex.
"""

from typing import Any, Literal, NamedTuple

from fleetpulse.otlp.sorting import Sorted

Kind = Literal["traces", "logs"]
TRACES: Kind = "traces"
LOGS: Kind = "logs"

STEP_ITEMS = 64  # spans or records decoded at once: a millisecond or two of the event loop
MAX_DEPTH = 12  # of nested attribute values; messages of a chat nest six deep
MAX_ATTRIBUTES = 2_048  # of one span or record; SDKs stop at 128 unless told otherwise
MAX_EVENTS = 128  # of one span, the newest; SDKs keep as many
SAMPLED = 1  # of a log record's flags: the span it belongs to is exported, too

Attributes = dict[str, Any]


class Origin(NamedTuple):
    """Who sent: the resource's attributes, and the name of the instrumentation scope."""

    resource: Attributes
    scope: str


class Event(NamedTuple):
    """Something that happened within a span."""

    name: str
    attributes: Attributes


class Span(NamedTuple):
    """One span. `attributes` is None where there are more than may be read."""

    trace_id: str
    span_id: str
    name: str
    start: int
    end: int
    attributes: Sorted | None
    failed: bool
    message: str
    events: tuple[Event, ...]


class Record(NamedTuple):
    """One log record. `sampled` is whether the span it belongs to is exported, too; `attributes` as of spans."""

    trace_id: str
    span_id: str
    sampled: bool
    name: str
    time: int
    attributes: Sorted | None


class Step(NamedTuple):
    """At most STEP_ITEMS spans or records of one origin."""

    origin: Origin
    items: list[Span] | list[Record]
