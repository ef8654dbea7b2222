"""What became of the records, in numbers."""

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """A monitor's numbers in this process, which add up.

    At rest, `logged + adopted + unlogged` is `spooled + sent + duplicates + rejected + dropped`.

    - `queued`: records in memory on their way to the spool (not in `logged` yet)
    - `logged`: records taken into the spool; `adopted`: those taken over from processes that ended
    - `spooled`: records that wait in the spool for the server; `unsafe`: of those, the ones that only memory holds
    - `sent`: stored by the server; `duplicates`: the server had them already
    - `rejected`: no record could be made of the call, or the server refused it for good
    - `dropped`: the queue or the spool was full, the monitor closed, or the record damaged
    - `unlogged`: of `rejected` and `dropped`, those that never came to the spool
    - `errors`: failed attempts to send; `last_error`: why the newest failed, None once one has succeeded since
    - `spool_bytes`: the spool's size on disk
    """

    queued: int = 0
    logged: int = 0
    adopted: int = 0
    spooled: int = 0
    unsafe: int = 0
    sent: int = 0
    duplicates: int = 0
    rejected: int = 0
    dropped: int = 0
    unlogged: int = 0
    errors: int = 0
    spool_bytes: int = 0
    last_error: str | None = None


class Tally:
    """Counts by name. The lock is reentrant: a signal handler that logs may interrupt a count on its own thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Adds to one."""
        with self._lock:
            self._counts[name] += count

    def refuse(self, name: str) -> None:
        """Adds one to `name` for a record that never came to the spool."""
        with self._lock:
            self._counts[name] += 1
            self._counts["unlogged"] += 1

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    @property
    def lost(self) -> int:
        """Records that the server will never have."""
        with self._lock:
            return self._counts["rejected"] + self._counts["dropped"]
