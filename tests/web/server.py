"""A real exporter for the tests of its HTTP API: bytes in as given, status, headers and bytes out.

Nothing between test and socket corrects what is sent: paths, headers and bodies may be as wrong as a test likes.
"""

import json
import select
import socket
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from tests.system.harness import DEADLINE, Exporter

LOG_REQUEST = "/api/log-request"
PINGS = "/api/v1/agents/ping"
WEBHOOK = "/api/v1/alerts/webhook"
PROBLEM = "application/problem+json"
PROBLEM_TYPE = "urn:fleetpulse:problem:"
NDJSON = {"Content-Type": "application/x-ndjson"}
OUTCOMES = ("stored", "duplicate", "rejected", "refused")


class Answer(NamedTuple):
    """What the exporter answered."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The problem document, which must be this one and a whole one."""
        assert (self.status, self.headers.get_content_type()) == (status, PROBLEM), self
        document: dict[str, Any] = self.json
        assert document["type"] == PROBLEM_TYPE + code, document
        assert document["status"] == status
        assert document["title"]
        assert document["detail"]
        assert set(document) <= {"type", "title", "status", "detail", "errors"}
        assert all(set(error) == {"loc", "msg"} for error in document.get("errors", []))
        return document


class Client:
    """Asks an exporter over one connection that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends a request as it is given, with Host and Content-Length where they are not."""
        fields = {"Host": f"127.0.0.1:{self._port}"} | dict(headers or {})
        if body is not None and not {"Content-Length", "Transfer-Encoding"} & set(fields):
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return self.send_bytes("\r\n".join(lines).encode("utf-8", "surrogateescape") + (body or b""), method)

    def send_bytes(self, request: bytes, method: str = "POST") -> Answer:
        """Sends bytes as they are and reads one answer."""
        connection = self._connected()
        connection.sendall(request)
        with closing(HTTPResponse(connection, method=method)) as response:
            response.begin()
            answer = Answer(response.status, response.headers, response.read())
            if response.will_close:
                self.close()
        return answer

    def ask(self, target: str, **headers: str) -> Answer:
        """A GET."""
        return self.send("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def give(self, target: str, payload: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Posts JSON, or bytes as they are."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.send("POST", target, body, {"Content-Type": "application/json"} | dict(headers or {}))

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self.close()  # the exporter has closed it
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), DEADLINE)
        return self._socket


class Server(Client, Exporter):
    """An exporter, and what asks it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        Exporter.__init__(self, folder, **settings)
        Client.__init__(self, self.port)

    def stop(self) -> None:
        """Closes the connection, then stops the exporter."""
        self.close()
        super().stop()

    def rows(self, table: str = "requests") -> int:
        """How many rows the journal holds."""
        (count,) = self.journal(f"SELECT count(*) FROM {table}")[0]  # noqa: S608 - the tests' own names
        return int(count)

    def journal(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the journal's file holds, read beside the exporter."""
        where = f"file:{self.data_dir / 'journal.db'}?mode=ro"
        with closing(sqlite3.connect(where, uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name with labels as exposed."""
        lines = self.ask("/metrics").body.decode().split("\n")
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def counted(self, kind: str) -> dict[str, float]:
        """Signals of a kind by what became of them."""
        return counted(self.metrics(), kind)


def counted(samples: Mapping[str, float], kind: str) -> dict[str, float]:
    """Signals of a kind by what became of them, in the samples of a scrape."""
    name = "fleetpulse_ingest_signals_total"
    return {each: samples.get(f'{name}{{kind="{kind}",outcome="{each}"}}', 0.0) for each in OUTCOMES}


def new_id(prefix: str = "r") -> str:
    """An id that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex}"


def request_log(**changes: Any) -> dict[str, Any]:
    """A good request log with a new id; a field changed to None is left out."""
    whole = {
        "request_id": new_id(),
        "source": "tests",
        "user_id": "u1",
        "command": "/ask",
        "status": "success",
        "execution_time": 0.5,
        "tokens_used": 10,
        "cost": 0.25,
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def heartbeat(**changes: Any) -> dict[str, Any]:
    """A good heartbeat."""
    return {"status": "busy", "cpu_usage": 45.5, "memory_usage": 62.3, "running_tasks": []} | changes
