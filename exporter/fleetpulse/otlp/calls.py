"""Which spans and log records stand for one call of a model, and what a request log says of each.

Agents, workflows, tools and retrievals contain calls, which are spans of their own; they are not counted again.
Nothing is validated here: `intake` does.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from fleetpulse.otlp import amounts
from fleetpulse.otlp.messages import last_said, model_asked
from fleetpulse.otlp.outcomes import outcome
from fleetpulse.otlp.plain import Attributes, Event, Origin, Record, Span
from fleetpulse.otlp.scope import SIGNALS_SCOPE
from fleetpulse.otlp.sorting import Sorted, is_short, judge, sort
from fleetpulse.otlp.vocabulary import (
    CALL_EVENT,
    MODEL_KINDS,
    MODEL_OPERATIONS,
    ORIGIN_METADATA,
    OTHER_OPERATIONS,
    provider_id,
)

NANOSECONDS = 1e9
UNKNOWN_SOURCE = "unknown_service"
NO_TRACE, NO_SPAN = "0" * 32, "0" * 16
IDENTITIES = ("user_id", "session_id", "account_id")
SHOWN_COUNTS = {  # tokens that a request log has no field for
    "written_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}


class Unreadable(Exception):  # noqa: N818 - it says what the item is
    """An item that is a call, and cannot be stored; the text says why."""


class Source(NamedTuple):
    """What every item of one origin shares: `ignored` where it is Fleetpulse itself."""

    name: str
    account_id: str | None
    metadata: Attributes
    ignored: bool


def source(origin: Origin) -> Source:
    """What an origin says of its items."""
    resource = origin.resource
    name = str(resource.get("service.name") or UNKNOWN_SOURCE)
    account = resource.get("fleetpulse.account_id")
    shown = {key: resource[key] for key in ORIGIN_METADATA if key in resource} | {"otel.scope.name": origin.scope}
    return Source(
        UNKNOWN_SOURCE if name.startswith(f"{UNKNOWN_SOURCE}:") else name,
        str(account) if account else None,
        sort([judge(*pair) for pair in shown.items()]).kept,
        origin.scope == SIGNALS_SCOPE,
    )


def of_span(span: Span, source: Source) -> dict[str, Any] | None:
    """A request log's fields, or None where the span is no call. Raises Unreadable."""
    if source.ignored:
        return None
    attributes = _readable(span.attributes)
    if not _is_call(attributes.found):
        return None
    if not _has_context(span):
        raise Unreadable("trace_id and span_id: a span needs both, of 16 and 8 bytes")
    fields = _fields(attributes, source, span.events)
    fields["request_id"] = f"{span.trace_id}-{span.span_id}"
    fields["trace_id"] = span.trace_id
    fields["execution_time"] = max(0, span.end - span.start) / NANOSECONDS if span.start and span.end else 0.0
    fields["timestamp"] = _moment(span.start or span.end)
    fields["status"], fields["error"] = outcome(attributes.found, span.message, span.events, failed=span.failed)
    return fields


def of_record(record: Record, source: Source, *, always: bool) -> dict[str, Any] | None:
    """The same of a log record. One whose span is exported too is told by its span, unless `always`."""
    if source.ignored or record.name not in ("", CALL_EVENT):
        return None
    attributes = _readable(record.attributes)
    if CALL_EVENT not in (record.name, attributes.found.get("event_name")):
        return None
    in_span = _has_context(record)
    if in_span and record.sampled and not always:
        return None
    fields = _fields(attributes, source, ())
    if in_span:
        fields["request_id"] = f"{record.trace_id}-{record.span_id}"
        fields["trace_id"] = record.trace_id
    else:
        fields["request_id"] = _identity(record.time, attributes, source)
    fields["execution_time"] = 0.0  # only a span knows it
    fields["timestamp"] = _moment(record.time)
    fields["status"], fields["error"] = outcome(attributes.found, "", (), failed=False)
    return fields


def _readable(attributes: Sorted | None) -> Sorted:
    if attributes is None:
        raise Unreadable("attributes: there are too many of them")
    return attributes


def _is_call(found: Attributes) -> bool:
    if "kind" in found:
        return str(found["kind"]).upper() in MODEL_KINDS
    if "step" in found:
        return False
    operation = str(found.get("operation", ""))
    if operation in MODEL_OPERATIONS:
        return True
    if operation in OTHER_OPERATIONS or not ("model" in found or "asked_model" in found):
        return False
    # An operation nobody has heard of: it is a call if it used tokens. None at all: or if a provider is named.
    counted = "input_tokens" in found or "output_tokens" in found or "tokens_used" in found
    return counted or (not operation and "provider" in found)


def _has_context(item: Span | Record) -> bool:
    """Whether both ids are there and valid: of the right length, and not all zero."""
    trace, span = item.trace_id, item.span_id
    return len(trace) == len(NO_TRACE) and len(span) == len(NO_SPAN) and trace != NO_TRACE and span != NO_SPAN


def _fields(attributes: Sorted, source: Source, events: Sequence[Event]) -> dict[str, Any]:
    found, kept, said = attributes
    fields = amounts.tokens(found)
    fields["source"] = source.name
    fields["account_id"] = source.account_id
    fields["cost"] = amounts.cost(found)
    fields["command"] = _command(found, said, events)
    for name in IDENTITIES:
        if name in found:
            fields[name] = str(found[name])
    if "provider" in found:
        fields["provider"] = provider_id(str(found["provider"]))
    metadata = source.metadata | kept
    asked = found.get("asked_model")
    model = found.get("model", asked)
    if model is None and said:
        model = model_asked(said)
    if model is not None:
        fields["model"] = str(model)
        if asked is not None and asked != model and is_short(asked):
            metadata["gen_ai.request.model"] = asked
    for name, shown in SHOWN_COUNTS.items():
        if isinstance(found.get(name), int):
            metadata[shown] = found[name]
    fields["metadata"] = metadata
    return fields


def _command(found: Attributes, content: Attributes, events: Sequence[Event]) -> str:
    """The operation, and what the user said where that was captured."""
    operation = str(found.get("operation") or MODEL_KINDS.get(str(found.get("kind")).upper(), "chat"))
    said = last_said(content, events) if content or events else ""
    return f"{operation}: {said}" if said else operation


def _moment(nanoseconds: int) -> datetime | None:
    return datetime.fromtimestamp(nanoseconds / NANOSECONDS, UTC) if nanoseconds else None


def _identity(time: int, attributes: Sorted, source: Source) -> str:
    """What a record without a span is known by: the same record sent again gives the same."""
    said = repr((source.name, time, [sorted(each.items()) for each in attributes]))
    return f"log-{blake2b(said.encode(), digest_size=16).hexdigest()}"
