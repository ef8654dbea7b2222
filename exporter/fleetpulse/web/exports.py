"""Request logs as files: CSV as RFC 4180 has it, or a JSON document a line; plain or compressed, part by part."""

import csv
import io
import zlib
from collections.abc import Sequence
from typing import Protocol

import orjson

from fleetpulse.journal import RequestRow, rfc3339

GZIP = 31  # zlib's "window bits" for the gzip format
GZIP_LEVEL = 4
BOM = "\ufeff"
# A spreadsheet takes a cell that begins so for a formula. The mark itself is among them, so that it can be undone.
RISKY = ("=", "+", "-", "@", "\t", "\r", "'", "＝", "＋", "－", "＠")
MARK = "'"


class Encoder(Protocol):
    """Turns requests into the parts of one file."""

    def begin(self) -> bytes:
        """What comes before the first request."""

    def encode(self, rows: Sequence[RequestRow]) -> bytes:
        """Some requests."""

    def end(self) -> bytes:
        """What comes after the last."""


class Csv:
    """A header and a line a request, in UTF-8. Numbers are exact; times are RFC 3339; metadata is JSON.

    Texts that a spreadsheet would run as a formula get an apostrophe before them where `guarded`: of a cell that
    begins with one, the rest is the text.
    """

    def __init__(self, *, guarded: bool = True, bom: bool = False) -> None:
        self._guarded = guarded
        self._bom = bom

    def begin(self) -> bytes:
        """The names of the columns."""
        names = ",".join(RequestRow._fields)
        return f"{BOM if self._bom else ''}{names}\r\n".encode()

    def encode(self, rows: Sequence[RequestRow]) -> bytes:
        """A line each."""
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(map(self._cells, rows))
        return lines.getvalue().encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _cells(self, row: RequestRow) -> list[object]:
        received = rfc3339(row.received_at)
        made = received if row.timestamp is None else rfc3339(row.timestamp)
        cells: list[object] = list(row._replace(received_at=0.0, timestamp=0.0))
        if self._guarded:
            cells = [MARK + cell if isinstance(cell, str) and cell.startswith(RISKY) else cell for cell in cells]
        cells[RECEIVED_AT], cells[TIMESTAMP] = received, made
        return cells


RECEIVED_AT = RequestRow._fields.index("received_at")
TIMESTAMP = RequestRow._fields.index("timestamp")


class JsonLines:
    """A JSON object a line, as the API shows a request; `POST /api/log-request` takes it back."""

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, rows: Sequence[RequestRow]) -> bytes:
        """A line each."""
        return b"".join([orjson.dumps(row.as_json(), option=orjson.OPT_APPEND_NEWLINE) for row in rows])

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Gzip:
    """Another encoder's file, compressed."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self._stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP)

    def begin(self) -> bytes:
        """The inner beginning."""
        return self._stream.compress(self._inner.begin())

    def encode(self, rows: Sequence[RequestRow]) -> bytes:
        """The requests, as far as the compressor gives them away."""
        return self._stream.compress(self._inner.encode(rows))

    def end(self) -> bytes:
        """The rest."""
        return self._stream.compress(self._inner.end()) + self._stream.flush()
