"""What people are told through logging: each kind of trouble at most once a minute, with how often it happened.

Noting is cheap and safe anywhere; telling, which runs whatever handlers the program has, is for the background
threads: a slow handler never delays the caller.
"""

import logging
import threading
import time
from dataclasses import dataclass

PAUSE = 60.0

log = logging.getLogger("fleetpulse.client")


@dataclass
class _Trouble:
    text: str = ""
    count: int = 0
    level: int = logging.WARNING
    told: float = float("-inf")


class Complaints:
    """Troubles by kind; the newest words win."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._lock = threading.RLock()
        self._troubles: dict[str, _Trouble] = {}

    def note(self, kind: str, text: str, count: int = 1, level: int = logging.WARNING) -> None:
        """Remembers a trouble. Kinds are few, and chosen in this package."""
        with self._lock:
            trouble = self._troubles.setdefault(kind, _Trouble())
            trouble.text, trouble.level = text, level
            trouble.count += count

    def over(self, kind: str, text: str) -> None:
        """A trouble has passed: this is told where the trouble was."""
        with self._lock:
            trouble = self._troubles.pop(kind, None)
        if trouble is not None and trouble.told > float("-inf"):
            log.warning("%s", text)

    def tell(self, *, now: bool = False) -> None:
        """Logs what is due; everything with `now`."""
        for text, count, level in self._due(now=now):
            log.log(level, "%s%s", text, f" ({count} times)" if count > 1 else "")

    def _due(self, *, now: bool) -> list[tuple[str, int, int]]:
        moment = time.monotonic()
        with self._lock:
            due = [
                each
                for each in self._troubles.values()
                if each.count and (now or moment - each.told >= self._pause)
            ]
            found = [(each.text, each.count, each.level) for each in due]
            for each in due:
                each.count, each.told = 0, moment
        return found
