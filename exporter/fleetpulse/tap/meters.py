"""One stream's metrics of its connections. What its messages say is counted elsewhere."""

from collections.abc import Callable
from typing import Literal, get_args

from fleetpulse import catalogue
from fleetpulse.instruments import Instruments

State = Literal["connecting", "connected", "waiting", "failed"]
STATES: tuple[State, ...] = get_args(State)


class Meters:
    """Time with and without a connection adds up here, so that a scrape in the middle of a gap shows it."""

    def __init__(self, instruments: Instruments, stream: str, timer: Callable[[], float]) -> None:
        """`timer` is a monotonic clock, in seconds."""
        self._instruments = instruments
        self._stream = stream
        self._timer = timer
        self._up = instruments.gauge(catalogue.TAP_UP, stream)
        self._states = {each: instruments.gauge(catalogue.TAP_STATE, stream, each) for each in STATES}
        self._connects = instruments.counter(catalogue.TAP_CONNECTS, stream)
        self._unconnected = instruments.counter(catalogue.TAP_GAP_SECONDS, stream)
        self._paused = instruments.counter(catalogue.TAP_PAUSED, stream)
        self._bytes = instruments.counter(catalogue.TAP_BYTES, stream)
        self._waiting = instruments.gauge(catalogue.TAP_WAITING, stream)
        self._seen = instruments.gauge(catalogue.TAP_SEEN, stream)
        self._is_up = False
        self._is_paused = False
        self._counted_to = timer()

    def entered(self, state: State) -> None:
        """The stream's state from now on."""
        self.count_time()
        self._is_up = state == "connected"
        self._up.set(self._is_up)
        for each, gauge in self._states.items():
            gauge.set(each == state)

    def connected(self, at: float) -> None:
        """A connection was opened, at Unix seconds."""
        self._connects.inc()
        self._seen.set(at)

    def ended(self, cause: str) -> None:
        """A connection ended, or an attempt failed."""
        self._instruments.counter(catalogue.TAP_DISCONNECTS, self._stream, cause).inc()

    def stopped(self) -> None:
        """The recorder has ended: there is no connection, and nobody waits for one."""
        self.count_time()
        self._up.set(0)

    def pausing(self, *, paused: bool) -> None:
        """Reading pauses, or goes on."""
        self.count_time()
        self._is_paused = paused

    def received(self, size: int, newest: float) -> None:
        """So many bytes of messages, the newest at Unix seconds."""
        self._bytes.inc(size)
        self._seen.set(newest)

    def waiting(self, messages: int) -> None:
        """Messages that wait to be stored."""
        self._waiting.set(messages)

    def lost(self, reason: str, messages: int = 1) -> None:
        """Messages that came and could not be kept."""
        self._instruments.counter(catalogue.TAP_LOST, self._stream, reason).inc(messages)

    def count_time(self) -> None:
        """Counts the time that has passed, to where it belongs."""
        now = self._timer()
        passed, self._counted_to = now - self._counted_to, now
        if not self._is_up:
            self._unconnected.inc(passed)
        if self._is_paused:
            self._paused.inc(passed)
