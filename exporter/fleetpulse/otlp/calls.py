"""Which spans and log records stand for one call of a model, and what a request log says of each.

Agents, workflows, tools and retrievals contain calls, which are spans of their own; they are not counted again.
Nothing is validated here: `intake` does.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from math import isfinite
from typing import Any, NamedTuple

from fleetpulse.otlp import amounts
from fleetpulse.otlp.messages import last_said
from fleetpulse.otlp.outcomes import outcome
from fleetpulse.otlp.plain import Attributes, Event, Origin, Record, Span
from fleetpulse.otlp.scope import SIGNALS_SCOPE
from fleetpulse.otlp.vocabulary import (
    CALL_EVENT,
    CONTENT,
    FIELDS,
    MODEL_KINDS,
    MODEL_OPERATIONS,
    ORIGIN_METADATA,
    OTHER_OPERATIONS,
    provider_id,
)

NANOSECONDS = 1e9
UNKNOWN_SOURCE = "unknown_service"
TRACE_ID, SPAN_ID = 32, 16  # hex digits
MAX_KEPT, MAX_NAME, MAX_VALUE = 32, 128, 256  # attributes kept as metadata, and characters of each
LAST_RANK = 99
IDENTITIES = ("user_id", "session_id", "account_id")


class Unreadable(Exception):  # noqa: N818 - it says what the item is
    """An item that is a call, and cannot be stored; the text says why."""


class Source(NamedTuple):
    """What every item of one origin shares: `ignored` where it is Fleetpulse itself."""

    name: str
    account_id: str | None
    metadata: Attributes
    ignored: bool


class _Read(NamedTuple):
    """An item's attributes: those that have a field, what was said, and the others."""

    found: Attributes
    content: Attributes
    rest: Attributes


def source(origin: Origin) -> Source:
    """What an origin says of its items."""
    resource = origin.resource
    name = str(resource.get("service.name") or UNKNOWN_SOURCE)
    account = resource.get("fleetpulse.account_id")
    metadata = {key: resource[key] for key in ORIGIN_METADATA if resource.get(key)}
    if origin.scope:
        metadata["otel.scope.name"] = origin.scope
    return Source(
        UNKNOWN_SOURCE if name.startswith(f"{UNKNOWN_SOURCE}:") else name,
        str(account) if account else None,
        _kept(metadata),
        origin.scope == SIGNALS_SCOPE,
    )


def of_span(span: Span, source: Source) -> dict[str, Any] | None:
    """A request log's fields, or None where the span is no call. Raises Unreadable."""
    if source.ignored:
        return None
    read = _read(span.attributes)
    if not _is_call(read.found):
        return None
    if not _has_context(span):
        raise Unreadable("trace_id and span_id: a span needs both, of 16 and 8 bytes")
    fields = _fields(read, source, span.events)
    fields["request_id"] = f"{span.trace_id}-{span.span_id}"
    fields["trace_id"] = span.trace_id
    fields["execution_time"] = max(0, span.end - span.start) / NANOSECONDS if span.start and span.end else 0.0
    fields["timestamp"] = _moment(span.start or span.end)
    fields["status"], fields["error"] = outcome(read.found, span.message, span.events, failed=span.failed)
    return fields


def of_record(record: Record, source: Source, *, always: bool) -> dict[str, Any] | None:
    """The same of a log record. One whose span is exported too is told by its span, unless `always`."""
    if source.ignored or (record.name or (record.attributes or {}).get("event.name")) != CALL_EVENT:
        return None
    in_span = _has_context(record)
    if in_span and record.sampled and not always:
        return None
    read = _read(record.attributes)
    fields = _fields(read, source, ())
    if in_span:
        fields["request_id"] = f"{record.trace_id}-{record.span_id}"
        fields["trace_id"] = record.trace_id
    else:
        fields["request_id"] = _identity(record, source)
    fields["execution_time"] = 0.0  # only a span knows it
    fields["timestamp"] = _moment(record.time)
    fields["status"], fields["error"] = outcome(read.found, "", (), failed=False)
    return fields


def _read(attributes: Attributes | None) -> _Read:
    if attributes is None:
        raise Unreadable("attributes: there are too many of them")
    found: Attributes = {}
    content: Attributes = {}
    rest: Attributes = {}
    ranks: dict[str, int] = {}
    for name, value in attributes.items():
        place = FIELDS.get(name)
        if place is None:
            (content if name.startswith(CONTENT) else rest)[name] = value
        elif value is not None and value != "" and place[1] < ranks.get(place[0], LAST_RANK):
            found[place[0]], ranks[place[0]] = value, place[1]
    return _Read(found, content, rest)


def _is_call(found: Attributes) -> bool:
    kind, operation = found.get("kind"), found.get("operation")
    if kind is not None:
        return str(kind).upper() in MODEL_KINDS
    if "step" in found:
        return False
    if operation in MODEL_OPERATIONS:
        return True
    if operation in OTHER_OPERATIONS or not ("model" in found or "asked_model" in found):
        return False
    # An operation nobody has heard of: it is a call if it used tokens. None at all: or if a provider is named.
    counted = "input_tokens" in found or "output_tokens" in found or "total_tokens" in found
    return counted or (operation is None and "provider" in found)


def _has_context(item: Span | Record) -> bool:
    """Whether both ids are there and valid: of the right length, and not all zero."""
    trace, span = item.trace_id, item.span_id
    return len(trace) == TRACE_ID and len(span) == SPAN_ID and bool(trace.strip("0")) and bool(span.strip("0"))


def _fields(read: _Read, source: Source, events: Sequence[Event]) -> dict[str, Any]:
    found = read.found
    fields = amounts.tokens(found)
    fields["source"] = source.name
    fields["account_id"] = source.account_id
    for name in IDENTITIES:
        if name in found:
            fields[name] = str(found[name])
    asked = found.get("asked_model")
    model = found.get("model", asked)
    if model is not None:
        fields["model"] = str(model)
    if "provider" in found:
        fields["provider"] = provider_id(str(found["provider"]))
    fields["cost"] = amounts.cost(found, read.rest)
    fields["command"] = _command(found, read.content, events)
    metadata = source.metadata | _kept(read.rest)
    if asked is not None and asked != model:
        metadata["gen_ai.request.model"] = asked
    fields["metadata"] = metadata
    return fields


def _command(found: Attributes, content: Attributes, events: Sequence[Event]) -> str:
    """The operation, and what the user said where that was captured."""
    operation = str(found.get("operation") or MODEL_KINDS.get(str(found.get("kind")).upper(), "chat"))
    said = last_said(content, events) if content or events else ""
    return f"{operation}: {said}" if said else operation


def _kept(rest: Mapping[str, Any]) -> Attributes:
    """Attributes that become metadata: scalars and lists of them, as long as they are short, and not too many."""
    kept = {}
    for name, value in rest.items():
        if len(name) <= MAX_NAME and _is_short(value):
            kept[name] = value
            if len(kept) == MAX_KEPT:
                break
    return kept


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_VALUE
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, list):
        return not any(isinstance(each, list | dict) for each in value) and len(str(value)) <= MAX_VALUE
    return isinstance(value, int)


def _moment(nanoseconds: int) -> datetime | None:
    return datetime.fromtimestamp(nanoseconds / NANOSECONDS, UTC) if nanoseconds else None


def _identity(record: Record, source: Source) -> str:
    """What a record without a span is known by: the same record sent again gives the same."""
    said = repr((source.name, record.time, sorted((record.attributes or {}).items())))
    return f"log-{blake2b(said.encode(), digest_size=16).hexdigest()}"
