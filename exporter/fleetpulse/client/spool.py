"""The spool: every record between the call and the server's acknowledgement, in segments, oldest first.

A record is appended before it is sent, and removed after the server has acknowledged it, or refused it for good. On
disk the segments are in a folder of this process's own below `parent`; folders whose owners are gone are adopted.
Promises: bounded, on disk and in memory each by itself; past the bound the oldest segment is dropped and counted.
Where the disk cannot be written, records wait in memory, and move to disk when that works again.
Refuses: to be shared by processes (each has its own), and to raise for what a disk may do.
"""

import itertools
import threading
import time
from contextlib import suppress
from pathlib import Path

from fleetpulse.client.complaints import Complaints
from fleetpulse.client.files import Folder, make_folder, orphans
from fleetpulse.client.segments import Batch, FileSegment, MemorySegment, Segment, adopt_file, new_file
from fleetpulse.client.tally import Tally

SEGMENT_BYTES = 2**20
SEGMENTS = 8  # at the least, so that dropping one loses a part and not all
DISK_PAUSE = 10.0
SUFFIX = ".spool"


class Spool:
    """`append` is the writer's, `next_batch`, `settle`, `release` and `adopt` are the sender's; all lock."""

    def __init__(  # noqa: PLR0913 - all keyword-only, one for each bound
        self,
        parent: Path | None,
        tally: Tally,
        complaints: Complaints,
        *,
        disk_bytes: int,
        memory_bytes: int,
        fsync: bool = False,
        disk_pause: float = DISK_PAUSE,
    ) -> None:
        self.appended = 0
        self._parent = parent
        self._tally = tally
        self._complaints = complaints
        self._bounds = {True: disk_bytes, False: memory_bytes}
        self._fsync = fsync
        self._disk_pause = disk_pause
        self._disk_again = 0.0
        self._disk_bad = False
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._active: Segment | None = None
        self._in_flight: Segment | None = None
        self._folder: Folder | None = None
        self._numbers = itertools.count()

    # What waits ---------------------------------------------------------------------------------------------------
    @property
    def waiting(self) -> int:
        """Records that are still to be sent."""
        return sum(segment.waiting for segment in list(self._segments))

    @property
    def settled(self) -> int:
        """Own records that are done with: sent, refused or dropped; never more than that is."""
        appended = self.appended
        return appended - sum(segment.waiting for segment in list(self._segments) if not segment.adopted)

    @property
    def size(self) -> int:
        """Bytes on disk that hold them."""
        return sum(segment.size for segment in list(self._segments) if segment.on_disk)

    @property
    def unsafe(self) -> int:
        """Records that only memory holds."""
        return sum(segment.waiting for segment in list(self._segments) if not segment.on_disk)

    @property
    def place(self) -> Path | None:
        """This process's folder, where it has one."""
        return self._folder.path if self._folder else None

    # In -----------------------------------------------------------------------------------------------------------
    def append(self, data: bytes, count: int) -> None:
        """Keeps sealed lines: on disk, else in memory."""
        with self._lock:
            self._keep(data, count)
            self.appended += count
            self._tally.add("logged", count)
            self._rescue()

    def _keep(self, data: bytes, count: int) -> None:
        wants_disk = self._parent is not None and time.monotonic() >= self._disk_again
        try:
            self._writable(len(data), disk=wants_disk).append(data, count)
        except OSError as error:
            self._no_disk(error)
            self._writable(len(data), disk=False).append(data, count)

    def _writable(self, more: int, *, disk: bool) -> Segment:
        """The active segment, or a new one where that is full, gone, or should be on disk. Raises OSError."""
        active = self._active
        if active is not None and active.vanished():
            active.on_disk = False  # it is still open, and its records are moved like those in memory
            active = self._active = None
        if active is not None and not self._is_full(active, more) and (active.on_disk or not disk):
            return active
        self._retire()
        active = self._active = self._new_file() if disk else MemorySegment()
        self._segments.append(active)
        self._bound(on_disk=active.on_disk)
        return active

    def _is_full(self, segment: Segment, more: int) -> bool:
        return bool(segment.size) and segment.size + more > self._segment_bytes(on_disk=segment.on_disk)

    def _new_file(self) -> FileSegment:
        return new_file(self._home() / self._name(), fsync=self._fsync)

    def _home(self) -> Path:
        """This process's folder, made where there is none, or none any more."""
        if self._folder is not None and not self._folder.path.is_dir():
            self._folder.abandon()
            self._folder = None
        if self._folder is None:
            if self._parent is None:
                raise OSError("there is no folder to spool in")
            self._folder = make_folder(self._parent)
        return self._folder.path

    def _name(self) -> str:
        """Sorts by age, and is no other segment's, whoever adopts whom."""
        return f"{time.time_ns():020d}-{next(self._numbers):06d}{SUFFIX}"

    def _no_disk(self, error: OSError) -> None:
        self._retire()
        self._disk_again = time.monotonic() + self._disk_pause
        if not self._disk_bad:
            reason = f"{error.strerror or error} in {self._parent}"
            self._complaints.note("spool", f"the spool cannot be written, records wait in memory: {reason}")
        self._disk_bad = True

    def _retire(self) -> None:
        if self._active is None:
            return
        self._active.retire()
        if not self._active.waiting:
            self._active.remove()
            self._forget(self._active)
        self._active = None

    def _rescue(self) -> None:
        """Moves what waits in memory to disk, once that can be written again."""
        if self._active is None or not self._active.on_disk:
            return
        if self._disk_bad:
            self._disk_bad = False
            self._complaints.over("spool", "the spool can be written again")
        for segment in [each for each in self._segments if not each.on_disk and each is not self._in_flight]:
            self._keep(segment.rest(), segment.waiting)
            segment.remove()
            self._forget(segment)

    # Bounds -------------------------------------------------------------------------------------------------------
    def _segment_bytes(self, *, on_disk: bool) -> int:
        return min(SEGMENT_BYTES, self._bounds[on_disk] // SEGMENTS)

    def _bound(self, *, on_disk: bool) -> None:
        """Drops the oldest segments until one more fits."""
        most = self._bounds[on_disk] - self._segment_bytes(on_disk=on_disk)
        alike = [segment for segment in self._segments if segment.on_disk == on_disk]
        size = sum(segment.size for segment in alike)
        for segment in alike:
            if size <= most:
                return
            if segment is not self._in_flight and segment is not self._active:
                size -= segment.size
                self._lose(segment, segment.waiting, "the spool is full, the oldest records are dropped")

    def _lose(self, segment: Segment, count: int, why: str) -> None:
        segment.remove()
        self._forget(segment)
        self._tally.add("dropped", count)
        self._complaints.note("dropped", why, count)

    def _forget(self, segment: Segment) -> None:
        with suppress(ValueError):
            self._segments.remove(segment)

    # Out ----------------------------------------------------------------------------------------------------------
    def next_batch(self, most_records: int, most_bytes: int) -> Batch | None:
        """The oldest records, which stay until they are settled; None where there are none."""
        with self._lock:
            while (segment := next((each for each in self._segments if each.done < each.size), None)) is not None:
                try:
                    batch = segment.batch(most_records, most_bytes)
                except OSError as error:
                    self._unreadable(segment, error)
                    continue
                if batch.records:
                    self._in_flight = segment
                    return batch
                self._advance(batch)
            return None

    def settle(self, batch: Batch) -> None:
        """These are done with: the server has them, or never will."""
        with self._lock:
            self._in_flight = None
            self._advance(batch)

    def release(self) -> None:
        """The batch that was taken stays for later."""
        with self._lock:
            self._in_flight = None

    def _advance(self, batch: Batch) -> None:
        segment = batch.segment
        if batch.damaged:
            self._tally.add("dropped", batch.damaged)
            self._complaints.note("damaged", "torn or damaged records in the spool are skipped", batch.damaged)
        segment.done = batch.end
        segment.settled += len(batch.records) + batch.damaged
        if segment.done < segment.size:
            return
        if segment is self._active:
            with suppress(OSError):
                segment.clear()
                return
            self._active = None
        segment.remove()
        self._forget(segment)

    def _unreadable(self, segment: Segment, error: OSError) -> None:
        if segment is self._active:
            self._active = None
        self._lose(segment, segment.waiting, f"records of the spool cannot be read: {error.strerror or error}")

    # Others' ------------------------------------------------------------------------------------------------------
    def adopt(self) -> None:
        """Takes over what ended processes left for the same server."""
        if self._parent is None or time.monotonic() < self._disk_again or not self._parent.is_dir():
            return
        try:
            with self._lock:
                self._adopt(self._parent)
        except OSError as error:
            self._complaints.note("adopt", f"spools of ended processes cannot be adopted: {error}")

    def _adopt(self, parent: Path) -> None:
        for orphan in orphans(parent):
            found: list[Segment] = []
            try:
                for path in sorted(orphan.path.glob(f"*{SUFFIX}")):
                    segment = adopt_file(path, self._home())
                    if segment.size:
                        found.append(segment)
                    else:
                        segment.remove()
            finally:
                orphan.release()
                self._segments[:0] = found
                self._tally.add("adopted", sum(segment.count for segment in found))
            self._bound(on_disk=True)

    # The end ------------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Leaves what waits on disk to whoever comes next; what waits in memory is lost and counted."""
        with self._lock:
            self._retire()
            for segment in [each for each in self._segments if not each.on_disk]:
                self._lose(segment, segment.waiting, "records that only memory held are lost at the end")
            if self._folder is not None:
                self._folder.release()
                self._folder = None

    def abandon(self) -> None:
        """Forgets everything in a forked child: it is the parent's. Takes no lock, which nobody may give back."""
        if self._active is not None:
            self._active.retire()
        if self._folder is not None:
            self._folder.abandon()
