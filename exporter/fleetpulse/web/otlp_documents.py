"""OTLP's messages in JSON, as far as they are read: for the API's description. `otlp/` reads them itself.

Source: opentelemetry-proto 1.x, with OTLP's JSON mapping.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

Nanoseconds = Annotated[str, Field(pattern="^[0-9]{1,19}$")] | Annotated[int, Field(ge=0, le=2**63 - 1)]
Int64 = Annotated[str, Field(pattern="^-?[0-9]{1,18}$")] | Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
TraceId = Annotated[str, Field(pattern="^([0-9a-fA-F]{32})?$")]
SpanId = Annotated[str, Field(pattern="^([0-9a-fA-F]{16})?$")]


class AttributeValue(TypedDict, total=False):
    """One of these; `arrayValue` and `kvlistValue` hold more of the same."""

    stringValue: str
    boolValue: bool
    intValue: Int64
    doubleValue: float


class Attribute(TypedDict, total=False):
    """A name and its value."""

    key: str
    value: AttributeValue


class Resource(TypedDict, total=False):
    """Who sends; `service.name` becomes the source."""

    attributes: list[Attribute]


class Scope(TypedDict, total=False):
    """The instrumentation."""

    name: str
    version: str


class SpanEvent(TypedDict, total=False):
    """Something that happened within a span, such as an exception."""

    timeUnixNano: Nanoseconds
    name: str
    attributes: list[Attribute]


class SpanStatus(TypedDict, total=False):
    """How a span ended: 0 unset, 1 good, 2 failed."""

    code: Literal[0, 1, 2]
    message: str


class Span(TypedDict, total=False):
    """One span."""

    traceId: TraceId
    spanId: SpanId
    parentSpanId: SpanId
    name: str
    kind: Annotated[int, Field(ge=0, le=5)]
    startTimeUnixNano: Nanoseconds
    endTimeUnixNano: Nanoseconds
    attributes: list[Attribute]
    events: list[SpanEvent]
    status: SpanStatus


class ScopeSpans(TypedDict, total=False):
    """Spans of one instrumentation."""

    scope: Scope
    spans: list[Span]


class ResourceSpans(TypedDict, total=False):
    """Spans of one service."""

    resource: Resource
    scopeSpans: list[ScopeSpans]


class TracesRequest(TypedDict, total=False):
    """ExportTraceServiceRequest."""

    resourceSpans: list[ResourceSpans]


class LogRecord(TypedDict, total=False):
    """One log record."""

    timeUnixNano: Nanoseconds
    observedTimeUnixNano: Nanoseconds
    severityNumber: Annotated[int, Field(ge=0, le=24)]
    body: AttributeValue
    attributes: list[Attribute]
    flags: Annotated[int, Field(ge=0, le=2**32 - 1)]
    traceId: TraceId
    spanId: SpanId
    eventName: str


class ScopeLogs(TypedDict, total=False):
    """Records of one instrumentation."""

    scope: Scope
    logRecords: list[LogRecord]


class ResourceLogs(TypedDict, total=False):
    """Records of one service."""

    resource: Resource
    scopeLogs: list[ScopeLogs]


class LogsRequest(TypedDict, total=False):
    """ExportLogsServiceRequest."""

    resourceLogs: list[ResourceLogs]


class PartialSpans(TypedDict):
    """How many spans were rejected, and why. Do not send them again."""

    rejectedSpans: str
    errorMessage: str


class TracesAnswer(TypedDict, total=False):
    """What was taken is on disk; `partialSuccess` only where some spans were rejected."""

    partialSuccess: PartialSpans


class PartialRecords(TypedDict):
    """How many log records were rejected, and why. Do not send them again."""

    rejectedLogRecords: str
    errorMessage: str


class LogsAnswer(TypedDict, total=False):
    """What was taken is on disk; `partialSuccess` only where some records were rejected."""

    partialSuccess: PartialRecords


class _Refusal(TypedDict):
    message: str


class Refusal(_Refusal, total=False):
    """google.rpc.Status: what every error is answered with here."""

    code: int
    details: list[dict[str, Any]]
