"""Answers are the messages of OpenTelemetry's protocol, in the encoding that was asked in."""

import orjson
import pytest
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from fleetpulse.otlp.plain import LOGS, TRACES
from fleetpulse.otlp.reply import JSON, PROTOBUF, failure, success


def test_success_sets_nothing() -> None:
    assert ExportTraceServiceResponse.FromString(success(TRACES, PROTOBUF, 0, "")) == ExportTraceServiceResponse()
    assert orjson.loads(success(LOGS, JSON, 0, "")) == {}


def test_partial_success_says_how_many_and_why() -> None:
    spans = ExportTraceServiceResponse.FromString(success(TRACES, PROTOBUF, 2, "why"))
    assert (spans.partial_success.rejected_spans, spans.partial_success.error_message) == (2, "why")
    records = ExportLogsServiceResponse.FromString(success(LOGS, PROTOBUF, 3, "why"))
    assert (records.partial_success.rejected_log_records, records.partial_success.error_message) == (3, "why")
    # 64-bit numbers are texts in protobuf's JSON
    assert orjson.loads(success(TRACES, JSON, 2, "why")) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "why"}
    }
    assert orjson.loads(success(LOGS, JSON, 2, "why")) == {
        "partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "why"}
    }


@pytest.mark.parametrize(
    ("http", "code"), [(400, 3), (401, 16), (403, 7), (413, 3), (415, 3), (503, 14), (500, 13)]
)
def test_failures_are_statuses(http: int, code: int) -> None:
    status = Status.FromString(failure(PROTOBUF, http, "why"))
    assert (status.code, status.message) == (code, "why")
    document = orjson.loads(failure(JSON, http, "why"))
    assert (document["code"], document["message"]) == (code, "why")
    assert ("details" in document) == (http == 400)


def test_bad_data_is_described_in_the_details() -> None:
    status = Status.FromString(failure(PROTOBUF, 400, "why"))
    described = BadRequest()
    assert status.details[0].Unpack(described)
    assert described.field_violations[0].description == "why"
    (detail,) = orjson.loads(failure(JSON, 400, "why"))["details"]
    assert detail == {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": "body", "description": "why"}],
    }
