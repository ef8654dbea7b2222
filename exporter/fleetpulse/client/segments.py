"""Segments: pieces of the spool, on disk or in memory, that grow at one end and are read from the other.

A segment is lines of `records.seal`. Promises: what was appended before the process was killed is read again by
whoever adopts the file; a line that is torn or damaged is skipped and counted, and costs no other line.
"""

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleetpulse.client.files import BINARY, PRIVATE_FILE
from fleetpulse.client.records import unseal


@dataclass(frozen=True)
class Batch:
    """Some records of one segment, as JSON, in order; `damaged` lines among them; where the next begin."""

    segment: "Segment"
    records: list[bytes]
    damaged: int
    end: int


class Segment(ABC):
    """Bytes `done` to `size` are still to be sent; of `count` records `settled` are done with."""

    def __init__(self, *, on_disk: bool, adopted: bool = False, size: int = 0, count: int = 0) -> None:
        self.on_disk = on_disk
        self.adopted = adopted
        self.size = size
        self.count = count
        self.done = 0
        self.settled = 0

    @property
    def waiting(self) -> int:
        """Records that are still to be sent."""
        return max(0, self.count - self.settled)

    def append(self, data: bytes, count: int) -> None:
        """Adds sealed lines. Raises OSError; the segment must not be appended to again then."""
        self._write(data)
        self.size += len(data)
        self.count += count

    def batch(self, most_records: int, most_bytes: int) -> Batch:
        """The next records: at least one line where any is left. Raises OSError where they cannot be read."""
        chunk = self._read(self.done, most_bytes)
        if not chunk:  # somebody cut the file short
            return Batch(self, [], self.waiting, self.size)
        lines = chunk.split(b"\n")
        if len(lines) == 1:  # a torn end, or bytes that never were a record
            return Batch(self, [], 1, self.done + len(chunk))
        whole = lines[:-1][:most_records]
        records = [record for record in map(unseal, whole) if record is not None]
        return Batch(self, records, len(whole) - len(records), self.done + sum(map(len, whole)) + len(whole))

    def rest(self) -> bytes:
        """All that is still to be sent. Raises OSError."""
        return self._read(self.done, self.size - self.done)

    def vanished(self) -> bool:
        """Whether somebody removed it while it was written to."""
        return False

    @abstractmethod
    def clear(self) -> None:
        """Begins anew, empty, once everything is done with. Raises OSError."""

    @abstractmethod
    def retire(self) -> None:
        """Takes no more."""

    @abstractmethod
    def remove(self) -> None:
        """Leaves nothing behind."""

    @abstractmethod
    def _write(self, data: bytes) -> None: ...

    @abstractmethod
    def _read(self, at: int, most: int) -> bytes: ...

    def _begin_anew(self) -> None:
        self.size = self.count = self.done = self.settled = 0


class MemorySegment(Segment):
    """Kept in memory: where there is no disk, or it is full."""

    def __init__(self) -> None:
        super().__init__(on_disk=False)
        self._data = bytearray()

    def clear(self) -> None:
        """See Segment."""
        self._data.clear()
        self._begin_anew()

    def retire(self) -> None:
        """See Segment."""

    def remove(self) -> None:
        """See Segment."""
        self._data.clear()

    def _write(self, data: bytes) -> None:
        self._data += data

    def _read(self, at: int, most: int) -> bytes:
        return bytes(self._data[at : at + most])


class FileSegment(Segment):
    """A file; `descriptor` is open while it may be appended to."""

    def __init__(self, path: Path, descriptor: int | None = None, *, fsync: bool = False, count: int = 0) -> None:
        size = path.stat().st_size if descriptor is None else 0
        super().__init__(on_disk=True, adopted=descriptor is None, size=size, count=count)
        self.path = path
        self._descriptor = descriptor
        self._fsync = fsync

    def vanished(self) -> bool:
        """See Segment."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0

    def clear(self) -> None:
        """See Segment."""
        if self._descriptor is None:
            raise OSError("the segment is retired")
        os.ftruncate(self._descriptor, 0)
        self._begin_anew()

    def retire(self) -> None:
        """See Segment."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """See Segment."""
        self.retire()
        with suppress(OSError):
            self.path.unlink()

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            raise OSError("the segment is retired")
        try:
            _write_all(self._descriptor, data)
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise

    def _read(self, at: int, most: int) -> bytes:
        if self._descriptor is None:
            with self.path.open("rb") as file:
                file.seek(at)
                return file.read(most)
        os.lseek(self._descriptor, at, os.SEEK_SET)  # appending goes to the end whatever the position
        return os.read(self._descriptor, most)


def new_file(path: Path, *, fsync: bool) -> FileSegment:
    """An empty segment in a file that is not there yet. Raises OSError."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | BINARY
    return FileSegment(path, os.open(path, flags, PRIVATE_FILE), fsync=fsync)


def adopt_file(path: Path, home: Path) -> FileSegment:
    """The segment that another process left, moved to this one's folder. Raises OSError."""
    data = path.read_bytes()
    count = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return FileSegment(path.rename(home / path.name), count=count)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
