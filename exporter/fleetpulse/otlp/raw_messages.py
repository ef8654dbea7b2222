"""OpenTelemetry's spans and log records, what is inside of them left as bytes.

On the wire an embedded message and bytes are the same. So these messages are OpenTelemetry's definitions with one
change: attributes, events, links and bodies are declared as bytes. A reader gets each as it was sent, instead of an
object whose every field costs a call; and what nobody looks into is not taken apart, however much there is of it.
https://protobuf.dev/programming-guides/encoding/#submessages
"""

from types import ModuleType
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
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


def _leave_as_bytes(definition: FileDescriptorProto, message: str, *names: str) -> None:
    (found,) = (each for each in definition.message_type if each.name == message)
    for field in found.field:
        if field.name in names:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")


def _made() -> tuple[Any, Any]:
    """The two messages, in a pool of their own: elsewhere the names mean what they always do."""
    pool = DescriptorPool()
    traces, logs = _definition(trace_pb2), _definition(logs_pb2)
    _leave_as_bytes(traces, "Span", "attributes", "events", "links")
    _leave_as_bytes(logs, "LogRecord", "attributes", "body")
    for definition in (_definition(common_pb2), _definition(resource_pb2), traces, logs):
        pool.Add(definition)
    names = (f"{traces.package}.ScopeSpans", f"{logs.package}.ScopeLogs")
    spans, records = (GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return spans, records


RawScopeSpans, RawScopeLogs = _made()
