"""Recorded messages as an HTTP archive (HAR 1.2), as Chrome's network panel exports and opens WebSocket traffic.

One entry a connection, its messages under `_webSocketMessages` (`type`, `time` in Unix seconds, `opcode`, `data`,
in base64 where binary). Rows have to come stream by stream, each in order: so a connection is one run of them, and
the file is written as it is read. Addresses are without query: secrets may stand there.

Sources: http://www.softwareishard.com/blog/har-12-spec/ and Chrome DevTools' HAR export.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

import fleetpulse
from fleetpulse.journal import MessageRow, rfc3339
from fleetpulse.query.payloads import BINARY, TEXT, payload_of

HEAD = {"version": "1.2", "creator": {"name": "fleetpulse", "version": fleetpulse.__version__}, "pages": []}


class Har:
    """Writes the archive part by part. `addresses` are the streams' URLs; what is not known is made up."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._connection: str | None = None
        self._opened = self._newest = 0.0
        self._entries = 0

    def begin(self) -> bytes:
        """The archive up to its entries."""
        return b'{"log":' + orjson.dumps(HEAD)[:-1] + b',"entries":['

    def encode(self, rows: Sequence[MessageRow]) -> bytes:
        """Messages; rows that never were on a recorded connection are passed over."""
        return b"".join([self._message(row) for row in rows if row.connection is not None])

    def end(self) -> bytes:
        """The end of the last entry, and of the archive."""
        return self._ended() + b"]}}"

    def _message(self, row: MessageRow) -> bytes:
        shown = orjson.dumps(_shown(row))
        if row.connection == self._connection:
            self._newest = row.received_at
            return b"," + shown
        return self._ended() + self._begun(row) + shown

    def _begun(self, row: MessageRow) -> bytes:
        self._connection, self._newest = row.connection, row.received_at
        self._opened = row.received_at - (row.clock or 0.0)
        self._entries += 1
        comma = b"," if self._entries > 1 else b""
        address = self._addresses.get(row.stream, f"ws://{row.stream}.invalid/")
        return comma + orjson.dumps(_entry(row, address, self._opened))[:-2]

    def _ended(self) -> bytes:
        """What closes the entry that is open."""
        if self._connection is None:
            return b""
        took = round(max(0.0, self._newest - self._opened) * 1_000, 3)
        rest = orjson.dumps({"time": took, "timings": {"send": 0, "wait": 0, "receive": took}})
        return b"]," + rest[1:]


def _entry(row: MessageRow, address: str, opened: float) -> dict[str, Any]:
    """A connection; its messages, which come last, are still to come."""
    http: dict[str, Any] = {"httpVersion": "HTTP/1.1", "cookies": [], "headers": [], "headersSize": -1}
    content = {"size": 0, "mimeType": "x-unknown"}
    return {
        "startedDateTime": rfc3339(opened),
        "request": {"method": "GET", "url": address, "queryString": [], "bodySize": 0, **http},
        "response": {
            "status": 101,
            "statusText": "Switching Protocols",
            "content": content,
            "redirectURL": "",
            "bodySize": 0,
            **http,
        },
        "cache": {},
        "connection": row.connection,
        "_resourceType": "websocket",
        "_stream": row.stream,
        "_webSocketMessages": [],
    }


def _shown(row: MessageRow) -> dict[str, Any]:
    """A message. Where its payload was not kept, what was understood of it stands in, and `_understood` says so."""
    payload = payload_of(row)
    message = {"type": "receive", "time": row.received_at, "opcode": row.opcode or TEXT}
    if isinstance(payload, bytes):
        return message | {"opcode": BINARY, "data": base64.b64encode(payload).decode()}
    if payload is None:
        return message | {"opcode": TEXT, "data": row.text, "_understood": True}
    return message | {"data": payload}
