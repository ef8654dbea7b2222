"""OpenTelemetry's spans and log records, their attributes left as bytes.

On the wire an embedded message and bytes are the same. So these messages are OpenTelemetry's definitions with
one change: `attributes` is declared as bytes, and a reader gets each attribute as it was sent instead of an object
whose every field costs a call. https://protobuf.dev/programming-guides/encoding/#submessages
"""

from types import ModuleType
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


def _definition(module: ModuleType) -> FileDescriptorProto:
    definition = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(definition)
    return definition


def _left_as_bytes(definition: FileDescriptorProto, message: str) -> None:
    (found,) = (each for each in definition.message_type if each.name == message)
    field = _field(found, "attributes")
    field.type = FieldDescriptorProto.TYPE_BYTES
    field.ClearField("type_name")


def _field(message: DescriptorProto, name: str) -> FieldDescriptorProto:
    (found,) = (each for each in message.field if each.name == name)
    return found


def _made() -> tuple[Any, Any]:
    """The two messages, in a pool of their own: elsewhere the names mean what they always do."""
    pool = DescriptorPool()
    traces, logs = _definition(trace_pb2), _definition(logs_pb2)
    _left_as_bytes(traces, "Span")
    _left_as_bytes(logs, "LogRecord")
    for definition in (_definition(common_pb2), _definition(resource_pb2), traces, logs):
        pool.Add(definition)
    names = (f"{traces.package}.ScopeSpans", f"{logs.package}.ScopeLogs")
    spans, records = (GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return spans, records


RawScopeSpans, RawScopeLogs = _made()
