"""Export requests as exporters send them: made of OpenTelemetry's own messages, in both encodings."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from fleetpulse.otlp.checked import CheckedLog
from fleetpulse.otlp.intake import Account, Intake
from fleetpulse.otlp.plain import LOGS, TRACES, Kind
from fleetpulse.otlp.reply import JSON, PROTOBUF
from fleetpulse.signals import RequestLog

CALL_EVENT = "gen_ai.client.inference.operation.details"
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.input_tokens": 1_200,
    "gen_ai.usage.output_tokens": 300,
    "gen_ai.usage.cache_read.input_tokens": 1_000,
}
START = 1_736_245_800_250_000_000  # 2025-01-07T10:30:00.25Z
END = START + 1_500_000_000
TRACE, SPAN = bytes(range(16)), bytes(range(8))
ID_NAMES = ("traceId", "spanId", "parentSpanId")


def value_of(plain: Any) -> AnyValue:
    """A plain value as AnyValue; None is one without a value."""
    value = AnyValue()
    if isinstance(plain, bool):
        value.bool_value = plain
    elif isinstance(plain, str):
        value.string_value = plain
    elif isinstance(plain, int):
        value.int_value = plain
    elif isinstance(plain, float):
        value.double_value = plain
    elif isinstance(plain, bytes):
        value.bytes_value = plain
    elif isinstance(plain, dict):
        value.kvlist_value.SetInParent()
        value.kvlist_value.values.extend(pairs(plain))
    elif isinstance(plain, list):
        value.array_value.SetInParent()
        value.array_value.values.extend(value_of(each) for each in plain)
    return value


def pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes as messages."""
    return [KeyValue(key=name, value=value_of(value)) for name, value in attributes.items()]


def span(attributes: Mapping[str, Any] | None = None, **changes: Any) -> Span:
    """A span of a model call; `events` are pairs of a name and attributes."""
    events = changes.pop("events", ())
    fields: dict[str, Any] = {"trace_id": TRACE, "span_id": SPAN, "name": "chat gpt-4o", "kind": 3}
    fields |= {"start_time_unix_nano": START, "end_time_unix_nano": END}
    made = Span(**(fields | changes), attributes=pairs(CHAT if attributes is None else attributes))
    for name, details in events:
        made.events.add(name=name, time_unix_nano=END, attributes=pairs(details))
    return made


def failed(message: str = "") -> Status:
    """The status of a failed span."""
    return Status(code=Status.STATUS_CODE_ERROR, message=message)


def record(attributes: Mapping[str, Any] | None = None, **changes: Any) -> LogRecord:
    """A log record that tells of a model call, outside of any span."""
    fields: dict[str, Any] = {"event_name": CALL_EVENT, "time_unix_nano": START}
    return LogRecord(**(fields | changes), attributes=pairs(CHAT if attributes is None else attributes))


def traces(
    *spans: Span, resource: Mapping[str, Any] | None = None, scope: str = "tests"
) -> ExportTraceServiceRequest:
    """An export request of spans."""
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(pairs({"service.name": "assistant"} if resource is None else resource))
    of_resource.scope_spans.add(spans=spans).scope.name = scope
    return request


def logs(
    *records: LogRecord, resource: Mapping[str, Any] | None = None, scope: str = "tests"
) -> ExportLogsServiceRequest:
    """An export request of log records."""
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    of_resource.resource.attributes.extend(pairs({"service.name": "assistant"} if resource is None else resource))
    of_resource.scope_logs.add(log_records=records).scope.name = scope
    return request


def as_json(message: Message) -> bytes:
    """A message in OTLP's JSON: protobuf's own mapping, but for hexadecimal ids and enums as numbers."""
    return orjson.dumps(_with_hex_ids(MessageToDict(message, use_integers_for_enums=True)))


def _with_hex_ids(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_hex_ids(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: base64.b64decode(value).hex() if name in ID_NAMES else _with_hex_ids(value)
        for name, value in node.items()
    }


def read(request: Message, media: str = PROTOBUF, *, events: bool = False, most: int = 10_000) -> Account:
    """What an intake makes of a request."""
    kind = LOGS if isinstance(request, ExportLogsServiceRequest) else TRACES
    body = as_json(request) if media == JSON else request.SerializeToString()
    return read_bytes(body, kind, media, events=events, most=most)


def read_bytes(
    body: bytes, kind: Kind = TRACES, media: str = PROTOBUF, *, events: bool = False, most: int = 10_000
) -> Account:
    """The same of a body as it is."""
    account = Account()
    for _ in Intake(most, events=events).read(kind, media, body, account):
        pass
    return account


def stored(*spans: Span, resource: Mapping[str, Any] | None = None) -> RequestLog | CheckedLog:
    """The one request log that these spans make."""
    account = read(traces(*spans, resource=resource))
    assert not account.rejected, account.rejected
    (log,) = account.good
    return log
