"""What an exporter is answered, in the encoding it asked in.

Good: an Export…ServiceResponse, with `partial_success` where some items were rejected. Bad: a google.rpc.Status,
whose details say what is wrong with the data. https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code  # type: ignore[import-untyped]  # ships no types
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from fleetpulse.otlp.plain import TRACES, Kind

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
NOTHING = {PROTOBUF: b"", JSON: b"{}"}  # everything was taken
CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    413: Code.INVALID_ARGUMENT,
    415: Code.INVALID_ARGUMENT,
    503: Code.UNAVAILABLE,
}
BAD_DATA = 400


def success(kind: Kind, media: str, rejected: int, reasons: str) -> bytes:
    """The answer to a request whose items were taken, but for so many, for these reasons."""
    if not rejected:
        return NOTHING[media]
    if kind == TRACES:
        traces = ExportTraceServiceResponse()
        traces.partial_success.rejected_spans = rejected
        traces.partial_success.error_message = reasons
        return _encoded(traces, media)
    logs = ExportLogsServiceResponse()
    logs.partial_success.rejected_log_records = rejected
    logs.partial_success.error_message = reasons
    return _encoded(logs, media)


def failure(media: str, status: int, message: str) -> bytes:
    """The answer with an HTTP status of 400 and more."""
    told = Status(code=CODES.get(status, Code.INTERNAL), message=message)
    if status == BAD_DATA:
        details = BadRequest(field_violations=[BadRequest.FieldViolation(field="body", description=message)])
        told.details.add().Pack(details)
    return _encoded(told, media)


def _encoded(message: Message, media: str) -> bytes:
    return orjson.dumps(MessageToDict(message)) if media == JSON else message.SerializeToString()
