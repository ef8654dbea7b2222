"""Rows as files: CSV as RFC 4180 has it, or a JSON document a line; plain or compressed, part by part."""

import csv
import io
import zlib
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import orjson

from fleetpulse.journal import MessageRow, RequestRow, rfc3339

GZIP = 31  # zlib's "window bits" for the gzip format
GZIP_LEVEL = 4
BOM = "\ufeff"
# A spreadsheet takes a cell that begins so for a formula. The mark itself is among them, so that it can be undone.
RISKY = ("=", "+", "-", "@", "\t", "\r", "'", "＝", "＋", "－", "＠")
MARK = "'"


Rows = TypeVar("Rows", bound=RequestRow | MessageRow)
Taken_contra = TypeVar("Taken_contra", bound=RequestRow | MessageRow, contravariant=True)


class Encoder(Protocol[Taken_contra]):
    """Turns rows into the parts of one file."""

    def begin(self) -> bytes:
        """What comes before the first row."""

    def encode(self, rows: Sequence[Taken_contra]) -> bytes:
        """Some rows."""

    def end(self) -> bytes:
        """What comes after the last."""


class Csv(Generic[Rows]):
    """A header and a line a row, in UTF-8. Numbers are exact; times are RFC 3339; metadata is JSON.

    Texts that a spreadsheet would run as a formula get an apostrophe before them where `guarded`: of a cell that
    begins with one, the rest is the text.
    """

    def __init__(
        self,
        fields: Sequence[str] = RequestRow._fields,
        *,
        without: str = "",
        guarded: bool = True,
        bom: bool = False,
    ) -> None:
        """`fields` are those of the rows, and become columns, but for one `without`."""
        self._columns = [name for name in fields if name != without]
        self._places = [fields.index(name) for name in self._columns]
        self._received, self._made = self._columns.index("received_at"), self._columns.index("timestamp")
        self._guarded = guarded
        self._bom = bom

    def begin(self) -> bytes:
        """The names of the columns."""
        names = ",".join(self._columns)
        return f"{BOM if self._bom else ''}{names}\r\n".encode()

    def encode(self, rows: Sequence[Rows]) -> bytes:
        """A line each."""
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(map(self._cells, rows))
        return lines.getvalue().encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _cells(self, row: Rows) -> list[object]:
        cells: list[object] = [row[place] for place in self._places]
        if self._guarded:
            cells = [MARK + cell if isinstance(cell, str) and cell.startswith(RISKY) else cell for cell in cells]
        cells[self._received] = rfc3339(row.received_at)
        cells[self._made] = rfc3339(row.received_at if row.timestamp is None else row.timestamp)
        return cells


class JsonLines(Generic[Rows]):
    """A JSON object a line, by default as the API shows a row; a request's, `POST /api/log-request` takes back."""

    def __init__(self, show: Callable[[Rows], object] = lambda row: row.as_json()) -> None:
        self._show = show

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, rows: Sequence[Rows]) -> bytes:
        """A line each."""
        return b"".join([orjson.dumps(self._show(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows])

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Gzip(Generic[Rows]):
    """Another encoder's file, compressed."""

    def __init__(self, inner: Encoder[Rows]) -> None:
        self._inner = inner
        self._stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP)

    def begin(self) -> bytes:
        """The inner beginning."""
        return self._stream.compress(self._inner.begin())

    def encode(self, rows: Sequence[Rows]) -> bytes:
        """The rows, as far as the compressor gives them away."""
        return self._stream.compress(self._inner.encode(rows))

    def end(self) -> bytes:
        """The rest."""
        return self._stream.compress(self._inner.end()) + self._stream.flush()
