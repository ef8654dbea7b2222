"""A recording as an HTTP archive, as the network panels of browsers and proxies read it.

The archive (HAR 1.2, http://www.softwareishard.com/blog/har-12-spec/) has one entry a connection. Its messages are
under `_webSocketMessages`, as Chrome 76 and later write them: `type`, `time` (Unix seconds), `opcode`, and `data`,
base64 where it was binary. Neither headers' values nor the address's query are in it: they may be secrets.

Promises: the file is a whole archive after every write, however the program ends afterwards. One stream to a file.
"""

import base64
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleetpulse import __version__
from fleetpulse.errors import InvalidInputError
from fleetpulse.tap.files import finish, open_alone
from fleetpulse.tap.frames import Frame
from fleetpulse.tap.output import Happened, Heard, Item, as_json

END = b"\n]}}\n"


class HarFile:
    """An archive that grows: what closes its brackets is written anew behind each batch."""

    def __init__(self, path: Path, url: str, protocol: str = "") -> None:
        self._url, self._protocol = urlsplit(url)._replace(query="", fragment="").geturl(), protocol
        self._descriptor = open_alone(path, flags=0)  # not to append: the end is overwritten
        if os.fstat(self._descriptor).st_size:
            os.close(self._descriptor)
            raise InvalidInputError(f"--output {path}: an archive cannot be appended to; name a new file")
        creator = {"name": "fleetpulse", "version": __version__}
        head = json.dumps({"log": {"version": "1.2", "creator": creator, "pages": [], "entries": []}})
        self._body = 0  # where the next piece begins
        self._end = b""  # what stands there now
        self._entry: _Entry | None = None
        self._entries = 0
        self._put(head.removesuffix("]}}").encode(), self._entry)

    def write(self, items: Sequence[Item]) -> int:
        """Adds messages to their connection's entry; the end of a connection is told in it."""
        entry, entries, pieces = self._entry, self._entries, bytearray()
        for item in items:
            if isinstance(item, Heard):
                frame = item.recorded.frame
                if entry is None or entry.connection != frame.connection:
                    pieces += entry.end() if entry else b""
                    entry = _Entry(frame, self._url, self._protocol)
                    pieces += (b"," if entries else b"") + entry.begin()
                    entries += 1
                pieces += entry.add(frame)
            elif entry is not None:
                entry = entry.told(item)
        self._put(bytes(pieces), entry)
        self._entry, self._entries = entry, entries
        return len(items)

    def close(self) -> None:
        """To disk."""
        finish(self._descriptor)

    def _put(self, piece: bytes, entry: "_Entry | None") -> None:
        """Writes a piece and the end over the former end; puts that back where it fails, which takes no room."""
        data = piece + (entry.end() if entry else b"") + END
        try:
            _write_at(self._descriptor, data, self._body)
            os.ftruncate(self._descriptor, self._body + len(data))
        except OSError:
            _write_at(self._descriptor, self._end, self._body)
            os.ftruncate(self._descriptor, self._body + len(self._end))
            raise
        self._body += len(piece)
        self._end = data[len(piece) :]


class _Entry:
    """One connection. Immutable but for the count of its messages and when the newest came."""

    def __init__(self, first: Frame, url: str, protocol: str) -> None:
        self.connection = first.connection
        self._opened = first.received_at - first.clock
        self._url, self._protocol = url, protocol
        self._messages, self._seconds = 0, 0.0
        self._told: dict[str, Any] = {}

    def begin(self) -> bytes:
        """Everything but the messages and what is only known at the end."""
        started = datetime.fromtimestamp(self._opened, UTC).isoformat(timespec="milliseconds")
        fields = {
            "startedDateTime": started,
            "_resourceType": "websocket",
            "_connectionId": self.connection,
            "request": _request(self._url, self._protocol),
            "response": _response(),
            "cache": {},
            "_webSocketMessages": [],
        }
        return b"\n" + json.dumps(fields).removesuffix("]}").encode()

    def add(self, frame: Frame) -> bytes:
        """One message."""
        binary = isinstance(frame.data, bytes)
        data = base64.b64encode(frame.data).decode() if isinstance(frame.data, bytes) else frame.data
        message = {"type": "receive", "time": frame.received_at, "opcode": 2 if binary else 1, "data": data}
        comma = b"," if self._messages else b""
        self._messages += 1
        self._seconds = frame.clock
        return comma + b"\n" + as_json(message)

    def told(self, item: Happened) -> "_Entry":
        """What became of the connection goes into its end."""
        self._told = {"_state": item.kind, "_detail": dict(item.detail)}
        return self

    def end(self) -> bytes:
        """Closes the messages and the entry."""
        milliseconds = round(self._seconds * 1_000, 3)
        fields = {"time": milliseconds, "timings": {"send": 0, "wait": milliseconds, "receive": 0}} | self._told
        return b"]," + json.dumps(fields).removeprefix("{").encode()


def _request(url: str, protocol: str) -> dict[str, Any]:
    headers = [{"name": "Sec-WebSocket-Protocol", "value": protocol}] if protocol else []
    asked = {"method": "GET", "url": url, "httpVersion": "HTTP/1.1", "queryString": []}
    return asked | {"cookies": [], "headers": headers, "headersSize": -1, "bodySize": 0}


def _response() -> dict[str, Any]:
    answered = {"status": 101, "statusText": "Switching Protocols", "httpVersion": "HTTP/1.1", "redirectURL": ""}
    content = {"size": 0, "mimeType": "x-unknown"}
    return answered | {"cookies": [], "headers": [], "content": content, "headersSize": -1, "bodySize": 0}


def _write_at(descriptor: int, data: bytes, place: int) -> None:
    """Writes every byte from a place on; raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written
