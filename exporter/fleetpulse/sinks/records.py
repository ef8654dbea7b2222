"""Rows as OTLP log records, as their readers in Loki and elsewhere see them.

The body is the row's JSON as the API shows it: nothing is lost, and `| json` finds the API's names. Attributes
carry what people filter and count by, under OpenTelemetry's names for generative AI where it has one, else as
`fleetpulse.` and the API's name. Text of people (command, error, metadata, messages) is in the body only.

Messages of recorded streams go without their payload, and are cut where they are longer than a store of logs takes
a line. Those of the exporter's own chat, which are between people, are not sent.

A record's time is when the thing happened, as long as that is near to when it arrived. Otherwise it is the time
of arrival, and the body has the other: stores of logs such as Loki refuse, for ever, a record that lies far behind
or ahead of those it got before.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs, SeverityNumber

import fleetpulse
from fleetpulse.journal import AlertRow, MessageRow, Numbered, RequestRow, Row
from fleetpulse.journal.conversations import CHAT
from fleetpulse.otlp.scope import SIGNALS_SCOPE

REQUEST_EVENT = "fleetpulse.request"
ALERT_EVENT = "fleetpulse.alert"
MESSAGE_EVENT = "fleetpulse.message"
LATE_SECONDS = 1_800.0  # half of what Loki allows a record to lie behind the newest of its stream, by default
EARLY_SECONDS = 300.0  # half of what Loki allows a record to lie ahead, by default
MESSAGE_CHARACTERS = 32_768  # of a text; even where JSON writes each in six bytes, Loki takes the line
ATTRIBUTE_BYTES = 1_024  # of one record, about: what it is besides its body
NANOSECONDS = 1_000_000_000
TRACE_ID = re.compile(r"(?!0{32})[0-9a-fA-F]{32}")
SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")

Value = str | int | float | None


class Attributes(Protocol):
    """Protobuf's list of attributes, of a resource or of a record."""

    def add(self, *, key: str) -> KeyValue:
        """Adds one."""


class Severity(NamedTuple):
    """How grave a record is, as a number and in words."""

    number: SeverityNumber.ValueType
    text: str


INFO = Severity(SeverityNumber.SEVERITY_NUMBER_INFO, "INFO")
WARN = Severity(SeverityNumber.SEVERITY_NUMBER_WARN, "WARN")
ERROR = Severity(SeverityNumber.SEVERITY_NUMBER_ERROR, "ERROR")
OF_ALERTS = {"critical": ERROR, "warning": WARN}


class Batch(NamedTuple):
    """Records on their way: the encoded request, how many it holds, and the id of the last row it speaks for.

    `full` is whether there was no room for more, `passed` how many of the rows are of a sort that is not sent.
    """

    body: bytes
    records: int
    upto: int
    full: bool
    passed: int = 0


def encode(rows: Sequence[Numbered], resource: Mapping[str, str], most_bytes: int, most_rows: int) -> Batch:
    """As many of the rows, from the first, as fit into about so many bytes; one at least. `rows` is not empty."""
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    _attach(logs.resource.attributes, resource)
    scope = logs.scope_logs.add()
    scope.scope.name, scope.scope.version = SIGNALS_SCOPE, fleetpulse.__version__
    done = _fill(scope, rows, most_bytes)
    records = len(scope.log_records)
    full = done < len(rows) or done >= most_rows
    return Batch(request.SerializeToString(), records, rows[done - 1].number, full, done - records)


def _fill(scope: ScopeLogs, rows: Sequence[Numbered], most_bytes: int) -> int:
    """Adds the records that there is room for; how many rows are done with, sent or not."""
    size = 0
    for done, each in enumerate(rows):
        made = record(each.row)
        if made is None:
            continue
        size += len(made.body.string_value.encode()) + ATTRIBUTE_BYTES
        if scope.log_records and size > most_bytes:
            return done
        scope.log_records.append(made)
    return len(rows)


def record(row: Row) -> LogRecord | None:
    """The log record of a row, None for a message of the own chat; raises TypeError for a kind that is not sent."""
    if isinstance(row, AlertRow):
        return _alert(row)
    if isinstance(row, RequestRow):
        return _request(row)
    if isinstance(row, MessageRow):
        return None if row.stream == CHAT else _message(row)
    raise TypeError(f"{type(row).__name__} is not sent as a log record")


def _request(row: RequestRow) -> LogRecord:
    ended_well = row.status == "success"
    made = _record(REQUEST_EVENT, row.as_json(), INFO if ended_well else ERROR, _when(row), row.received_at)
    made.trace_id, made.span_id = _span_of(row)
    _attach(
        made.attributes,
        {
            "event.name": REQUEST_EVENT,  # Loki leaves out the record's own field
            "fleetpulse.request_id": row.request_id,
            "fleetpulse.source": row.source,
            "fleetpulse.status": row.status,
            "fleetpulse.execution_time": row.execution_time,
            "fleetpulse.tokens_used": row.tokens_used,
            "fleetpulse.cost": row.cost,
            "fleetpulse.cost_source": row.cost_source,
            "fleetpulse.account_id": row.account_id,
            "error.type": None if ended_well else row.status,
            "user.id": row.user_id or None,
            "gen_ai.provider.name": row.provider,
            "gen_ai.request.model": row.model,
            "gen_ai.conversation.id": row.session_id,
            "gen_ai.usage.input_tokens": row.input_tokens,
            "gen_ai.usage.output_tokens": row.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
        },
    )
    return made


def _alert(row: AlertRow) -> LogRecord:
    severity = OF_ALERTS.get(row.severity, INFO) if row.status == "firing" else INFO
    made = _record(ALERT_EVENT, row.as_json(), severity, row.received_at, row.received_at)
    _attach(
        made.attributes,
        {
            "event.name": ALERT_EVENT,
            "fleetpulse.alertname": row.alertname,
            "fleetpulse.status": row.status,
            "fleetpulse.severity": row.severity,
            "fleetpulse.fingerprint": row.fingerprint,
        },
    )
    return made


def _message(row: MessageRow) -> LogRecord:
    shown = row._replace(text=row.text[:MESSAGE_CHARACTERS]).as_json()
    made = _record(MESSAGE_EVENT, shown, INFO, _when(row), row.received_at)
    _attach(
        made.attributes,
        {
            "event.name": MESSAGE_EVENT,
            "fleetpulse.message_id": row.message_id,
            "fleetpulse.stream": row.stream,
            "fleetpulse.kind": row.kind,
            "fleetpulse.room": row.session_id,
            "fleetpulse.rules": row.rules and row.rules.strip(","),
            "fleetpulse.text_length": len(row.text) if len(row.text) > MESSAGE_CHARACTERS else None,
            "user.id": row.user_id or None,
        },
    )
    return made


def _record(event: str, body: Mapping[str, Any], severity: Severity, when: float, received: float) -> LogRecord:
    return LogRecord(
        body=AnyValue(string_value=orjson.dumps(body).decode()),
        time_unix_nano=int(when * NANOSECONDS),
        observed_time_unix_nano=int(received * NANOSECONDS),
        severity_number=severity.number,
        severity_text=severity.text,
        event_name=event,
    )


def _span_of(row: RequestRow) -> tuple[bytes, bytes]:
    """Trace and span; a request that came in as a span has both in its id (`otlp/calls.py`)."""
    if not row.trace_id or not TRACE_ID.fullmatch(row.trace_id):
        return b"", b""
    trace, _, span = row.request_id.partition("-")
    known = trace == row.trace_id and SPAN_ID.fullmatch(span)
    return bytes.fromhex(row.trace_id), bytes.fromhex(span) if known else b""


def _when(row: RequestRow | MessageRow) -> float:
    happened = row.received_at if row.timestamp is None else row.timestamp
    near = row.received_at - LATE_SECONDS <= happened <= row.received_at + EARLY_SECONDS
    return happened if near else row.received_at


def _attach(attributes: Attributes, values: Mapping[str, Value]) -> None:
    """Adds the values that are there."""
    for name, value in values.items():
        if value is None:
            continue
        holder = attributes.add(key=name).value
        if isinstance(value, str):
            holder.string_value = value
        elif isinstance(value, int):
            holder.int_value = value
        else:
            holder.double_value = value
