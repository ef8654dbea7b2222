"""When the next message of a recording is due, so that it is played as fast as it was, or so many times faster."""

from collections.abc import Callable

from fleetpulse.journal import MessageRow

LATE_SECONDS = 1.0  # what held it up for longer is not made up for


class Pace:
    """`speed` 1 is as it was, 2 twice as fast, 0 without any pause; no pause is longer than `longest` seconds."""

    def __init__(self, speed: float, longest: float | None, timer: Callable[[], float]) -> None:
        """`timer` is a monotonic clock."""
        self._speed = speed
        self._longest = longest
        self._timer = timer
        self._last: MessageRow | None = None
        self._due = 0.0

    def begin(self) -> None:
        """The next message is the first one: due at once."""
        self._last = None

    def due(self, row: MessageRow) -> float:
        """When the next message is to be played, on the timer."""
        now = self._timer()
        if not self._speed or self._last is None:
            self._due = now
        else:
            self._due = max(self._due + self._pause(self._last, row) / self._speed, now - LATE_SECONDS)
        self._last = row
        return self._due

    def _pause(self, last: MessageRow, row: MessageRow) -> float:
        pause = max(0.0, apart(last, row))
        return pause if self._longest is None else min(pause, self._longest * self._speed)


def apart(first: MessageRow, second: MessageRow) -> float:
    """Seconds between two messages: within a connection by the clock that nobody sets, else by the time of day."""
    if first.connection == second.connection and first.clock is not None and second.clock is not None:
        return second.clock - first.clock
    return second.received_at - first.received_at
