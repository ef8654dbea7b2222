"""A real OTLP/HTTP collector that a test commands: it takes, refuses, stalls, hangs up, goes away, comes back."""

import gzip
import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

DEADLINE = 60.0


@dataclass(frozen=True)
class Reply:
    """How a call is answered. `takes` is whether its records are kept; `hangs_up` answers nothing."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs_up: bool = False

    @property
    def takes(self) -> bool:
        """Whether the records are stored."""
        return self.status < 300 and not self.hangs_up


@dataclass(frozen=True)
class Call:
    """A call as it came."""

    path: str
    headers: Mapping[str, str]
    records: tuple[LogRecord, ...]
    spans: tuple[Span, ...]
    resource: Mapping[str, Any]
    scope: str


def rejecting(records: int, message: str) -> Reply:
    """Takes a batch, all but some of its records."""
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = records
    answer.partial_success.error_message = message
    return Reply(200, {"Content-Type": "application/x-protobuf"}, answer.SerializeToString())


class Collector:
    """Listens on a loopback port from `start` to `stop`, and on the same one when started again."""

    def __init__(self, certificate: ssl.SSLContext | None = None) -> None:
        self.calls: list[Call] = []
        self.next: list[Reply] = []  # how the next calls with log records are answered
        self.always = Reply()  # and all others
        self.open = Event()  # while clear, calls hang
        self.open.set()
        self._certificate = certificate
        self._lock = Lock()
        self._port = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where log records go."""
        return f"{self.base}/v1/logs"

    @property
    def base(self) -> str:
        """Where everything goes, below."""
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._port}"

    @property
    def accepted(self) -> int:
        """How many connections were made since `start`."""
        assert self._server is not None
        return self._server.accepted

    def start(self) -> "Collector":
        """Begins to listen."""
        self._server = _Server(self, self._port, self._certificate)
        self._port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Goes away: nobody listens, open connections are cut."""
        self.open.set()
        if self._server is not None:
            self._server.end()
            self._server = None

    def taken(self) -> list[LogRecord]:
        """Every record that was taken, as often as it came."""
        with self._lock:
            return [record for call in self.calls for record in call.records]

    def ids(self) -> Counter[str]:
        """How often each request id was taken."""
        return Counter(json.loads(record.body.string_value)["request_id"] for record in self.taken())

    def spans(self) -> list[Span]:
        """Every span."""
        with self._lock:
            return [span for call in self.calls for span in call.spans]

    def answer(self, call: Call) -> Reply:
        """Decides, and keeps what it takes."""
        assert self.open.wait(DEADLINE)
        with self._lock:
            reply = self.next.pop(0) if self.next and call.records else self.always
            if reply.takes:
                self.calls.append(call)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collector: Collector, port: int, certificate: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.collector = collector
        self.connections: set[socket.socket] = set()
        self.accepted = 0
        if certificate is not None:
            self.socket = certificate.wrap_socket(self.socket, server_side=True)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        self.accepted += 1
        return connection, address

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side went away, as it may."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        reply = self.server.collector.answer(_read(self.path, dict(self.headers), body))
        if reply.hangs_up:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        """Says nothing."""


def _read(path: str, headers: dict[str, str], body: bytes) -> Call:
    if path.endswith("/v1/traces"):
        (group,) = ExportTraceServiceRequest.FromString(body).resource_spans
        (traced,) = group.scope_spans
        return Call(path, headers, (), tuple(traced.spans), plain(group.resource.attributes), traced.scope.name)
    (held,) = ExportLogsServiceRequest.FromString(body).resource_logs
    (logged,) = held.scope_logs
    return Call(path, headers, tuple(logged.log_records), (), plain(held.resource.attributes), logged.scope.name)


def plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as Python values."""
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
