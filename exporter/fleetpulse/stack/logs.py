"""One child's log file: bounded on disk, its last lines at hand."""

from collections import deque
from pathlib import Path

MAX_BYTES = 5 * 2**20
TAIL_LINES = 15
TAIL_LINE_BYTES = 2_000


class ChildLog:
    """Appends what a child prints; past MAX_BYTES the file becomes `<name>.log.1` and a new one begins."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab")
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._partial = b""

    def write(self, data: bytes) -> None:
        """Appends; a full disk loses the log and nothing else."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._tail.extend(line[:TAIL_LINE_BYTES] for line in lines)
        self._partial = self._partial[:TAIL_LINE_BYTES]
        try:
            self._file.write(data)
            self._file.flush()
            if self._file.tell() > MAX_BYTES:
                self._rotate()
        except OSError:
            return

    def tail(self) -> str:
        """The last lines printed."""
        return b"\n".join((*self._tail, self._partial)).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab")
