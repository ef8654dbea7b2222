"""What one process runs for one monitor: the queue that callers fill, the writer's and the sender's threads.

    caller -> queue -> writer -> spool -> sender -> server

Promises: putting a record costs the caller one append to a queue (full: the newest is refused and counted). The
writer alone waits for the disk, the sender alone for the network, so that a server that stalls endangers no record.
Refuses: to be shared with a forked child, which gets an engine of its own.
"""

import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from fleetpulse.client.complaints import Complaints
from fleetpulse.client.environment import Resolved
from fleetpulse.client.heartbeats import Beats
from fleetpulse.client.limits import Bounds
from fleetpulse.client.sender import Pace, Sender
from fleetpulse.client.spool import Spool
from fleetpulse.client.tally import Stats, Tally
from fleetpulse.client.transport import Transport

LINGER = 0.01  # between writes: one system call for what comes meanwhile
CHUNK_BYTES = 2**18
POLL = 0.005
START_AGAIN = 5.0
HEARTBEAT_SECONDS = 5.0


class _Marker:
    """Passes through the queue: once `passed`, all that was put before is in the spool."""

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.target = 0


class Engine:
    """The machinery of a monitor in one process."""

    def __init__(self, resolved: Resolved, bounds: Bounds) -> None:
        self.tally = Tally()
        self.complaints = Complaints()
        self._bounds = bounds
        self._queue: SimpleQueue[bytes | _Marker | None] = SimpleQueue()
        self._spool = Spool(
            resolved.spool,
            self.tally,
            self.complaints,
            disk_bytes=bounds.spool_bytes,
            memory_bytes=bounds.memory_bytes,
            fsync=bounds.fsync,
        )
        self._sender = Sender(
            self._spool,
            Transport(resolved.target, bounds.timeout),
            self.tally,
            self.complaints,
            Pace(bounds.batch_size, bounds.interval),
            resolved.target.url,
        )
        beat_transport = Transport(resolved.target, min(HEARTBEAT_SECONDS, bounds.timeout))
        self.beats = Beats(beat_transport, self.complaints)
        self._threads: dict[str, threading.Thread] = {}
        self._started = False
        self._start_lock = threading.RLock()
        self._start_again = 0.0
        self._closed = False
        self._lost = 0  # rejected and dropped, as of the last flush

    # Callers ------------------------------------------------------------------------------------------------------
    def put(self, line: bytes) -> bool:
        """Takes a record; False where there is no room, or no more time."""
        if self._closed:
            self._refuse("closed", "the monitor is closed, and what is logged is dropped")
            return False
        if self._queue.qsize() >= self._bounds.queue_size:
            self._refuse("queue", "the queue is full, and what is logged is dropped")
            return False
        self._queue.put(line)
        if not self._started:
            self._start()
        return True

    def reject(self, why: str) -> None:
        """Counts a call of which no record can be made."""
        self.tally.refuse("rejected")
        self.complain("unfit", f"no record can be made of a call or activity: {why}")

    def complain(self, kind: str, text: str) -> None:
        """Has people told by a background thread, soon."""
        self.complaints.note(kind, text)
        self._sender.more()
        if not self._started and not self._closed:
            self._start()

    def persist(self, timeout: float) -> bool:
        """Waits until all that was put is on disk, or with the server; says whether it is."""
        if self._unused:
            return True
        marker = self._mark(timeout)
        return marker is not None and self._spool.unsafe == 0

    def flush(self, timeout: float) -> bool:
        """Waits until all that was put is settled; says whether it is, and nothing was lost since the last time."""
        until = time.monotonic() + timeout
        marker = None if self._unused else self._mark(timeout)
        settled = self._unused or (marker is not None and self._settled(marker.target, until, self._never))
        lost, self._lost = self._lost, self.tally.lost
        return settled and self._lost == lost

    def stats(self) -> Stats:
        """The numbers now."""
        tally = self.tally
        counted = {name: tally[name] for name in ("logged", "adopted", "sent", "duplicates", "rejected", "dropped")}
        return Stats(
            **counted,
            queued=self._queue.qsize(),
            spooled=self._spool.waiting,
            unsafe=self._spool.unsafe,
            unlogged=tally["unlogged"],
            errors=tally["errors"],
            spool_bytes=self._spool.size,
            last_error=self._sender.trouble,
        )

    # The end ------------------------------------------------------------------------------------------------------
    def close(self, timeout: float) -> bool:
        """Sends what it can in the time, leaves the rest on disk, and ends. Says whether all is settled.

        Where the server is away and the disk has everything, it does not wait: the next process sends it.
        """
        until = time.monotonic() + timeout
        unused = self._unused
        marker = None if unused else self._mark(timeout)
        self._closed = True
        self._queue.put(None)
        self._join("writer", until)
        self.beats.stop()
        done = unused or (marker is not None and self._settled(marker.target, until, self._left_safely))
        self._sender.stop()
        self._join("sender", until)
        self.beats.join(until - time.monotonic())
        return done

    def abandon(self) -> None:
        """Forgets everything in a forked child."""
        self._spool.abandon()
        self._sender.abandon()
        self.beats.abandon()

    def _join(self, name: str, until: float) -> None:
        if name in self._threads:
            self._threads[name].join(max(0.05, until - time.monotonic()))

    @property
    def _unused(self) -> bool:
        """Whether there never was a record: then there is nothing to wait for, and no thread to start for that."""
        return not self._started and self._queue.empty() and not self._closed

    # Inside -------------------------------------------------------------------------------------------------------
    def _refuse(self, kind: str, why: str) -> None:
        self.tally.refuse("dropped")
        self.complaints.note(kind, why)
        self._sender.more()

    def _mark(self, timeout: float) -> _Marker | None:
        """A marker that has passed through the queue, or None where that took too long."""
        if self._closed:
            return None
        marker = _Marker()
        self._queue.put(marker)
        if not self._started:
            self._start()
        return marker if marker.passed.wait(max(0.0, timeout)) else None

    def _settled(self, target: int, until: float, enough: Callable[[], bool]) -> bool:
        """Waits until so many own records are settled; gives up at `until`, or where it is `enough`."""
        self._sender.hurry(target)
        while self._spool.settled < target:
            if time.monotonic() >= until or enough():
                return False
            time.sleep(POLL)
        return True

    @staticmethod
    def _never() -> bool:
        return False

    def _left_safely(self) -> bool:
        return self._sender.trouble is not None and self._spool.unsafe == 0

    def _start(self) -> None:
        """Starts the threads, at the first record. Where none can be started now, that is tried again later."""
        with self._start_lock:
            if self._started or time.monotonic() < self._start_again:
                return
            self._start_again = time.monotonic() + START_AGAIN
            try:
                for name, run in (("writer", self._write), ("sender", self._sender.run)):
                    if name not in self._threads:
                        thread = threading.Thread(target=run, name=f"fleetpulse-{name}", daemon=True)
                        thread.start()
                        self._threads[name] = thread
            except RuntimeError as error:  # the process may have no more, or ends
                self.complaints.note("threads", f"no thread can be started: {error}")
                return
            self._started = True
            self._close_with_multiprocessing()

    def _close_with_multiprocessing(self) -> None:
        """Processes of multiprocessing end without atexit; they have finalizers of their own."""
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util is not None and process is not None and process.parent_process() is not None:
            util.Finalize(self, self.close, args=(self._bounds.exit_timeout,), exitpriority=10)

    def _write(self) -> None:
        """The writer's thread."""
        stop = False
        while not stop:
            items = [self._queue.get()]
            try:
                while len(items) < self._bounds.queue_size:
                    items.append(self._queue.get_nowait())
            except Empty:
                pass
            stop = None in items and self._closed
            self._keep(items)
            time.sleep(LINGER)

    def _keep(self, items: list[bytes | _Marker | None]) -> None:
        lines = [item for item in items if type(item) is bytes]
        try:
            self._keep_lines(lines)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next records must be kept
            self.complaints.note("writer", f"records are lost: {type(error).__name__} in the client", len(lines))
            self.tally.add("dropped", len(lines))
        for item in items:
            if isinstance(item, _Marker):
                item.target = self._spool.appended
                item.passed.set()
        if lines:
            self._sender.more()

    def _keep_lines(self, lines: list[bytes]) -> None:
        """One write for each `CHUNK_BYTES`."""
        start, size = 0, 0
        for place, line in enumerate(lines):
            size += len(line)
            if size >= CHUNK_BYTES or place == len(lines) - 1:
                self._spool.append(b"".join(lines[start : place + 1]), place + 1 - start)
                start, size = place + 1, 0
