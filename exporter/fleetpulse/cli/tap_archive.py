"""A recording as an HTTP archive that grows: what closes its brackets is written anew behind each batch.

Promises: the file is a whole archive after every write, however the program ends afterwards, and as it was before
where a write fails. One stream to a file. What an archive looks like is `web/har.py`'s.
"""

import copy
import os
from collections.abc import Sequence
from pathlib import Path

from fleetpulse.config import Source
from fleetpulse.errors import InvalidInputError
from fleetpulse.tap.files import finish, open_alone
from fleetpulse.tap.guards import shown
from fleetpulse.tap.output import Heard, Item
from fleetpulse.tap.rows import message_row
from fleetpulse.web.har import Har


class HarFile:
    """An archive of one stream's messages."""

    def __init__(self, path: Path, source: Source) -> None:
        """Begins it. Raises InvalidInputError where there is a file with something in it."""
        self._descriptor = open_alone(path, flags=0)  # not to append: the end is overwritten
        if os.fstat(self._descriptor).st_size:
            os.close(self._descriptor)
            raise InvalidInputError(f"--output {path}: an archive cannot be appended to; name a new file")
        self._har = Har({source.name: shown(source.url)})
        self._body = 0  # where the next piece begins
        self._end = b""  # what stands there now
        self._put(self._har.begin(), self._har.end())

    def write(self, items: Sequence[Item]) -> int:
        """Adds messages, each to its connection's entry; what happened to connections has no place in archives."""
        har = copy.copy(self._har)
        heard = [each for each in items if isinstance(each, Heard)]
        rows = [message_row(each.stream, each.recorded, keep_raw=each.keep_raw) for each in heard]
        self._put(har.encode(rows), har.end())
        self._har = har
        return len(items)

    def close(self) -> None:
        """To disk."""
        finish(self._descriptor)

    def _put(self, piece: bytes, end: bytes) -> None:
        """Writes a piece and the end over the former end; puts that back where it fails, which takes no room."""
        try:
            _write_at(self._descriptor, piece + end, self._body)
            os.ftruncate(self._descriptor, self._body + len(piece) + len(end))
        except OSError:
            _write_at(self._descriptor, self._end, self._body)
            os.ftruncate(self._descriptor, self._body + len(self._end))
            raise
        self._body += len(piece)
        self._end = end


def _write_at(descriptor: int, data: bytes, place: int) -> None:
    """Writes every byte from a place on; raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written
