"""One connection as the hub sees it: a transport that takes frames, and what is known of its health."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fleetpulse.auth import Principal
from fleetpulse.live.closing import Cause
from fleetpulse.live.limits import TokenBucket
from fleetpulse.live.wires import WEBSOCKET, Wire

if TYPE_CHECKING:
    from fleetpulse.live.audience import Subscription


class Transport(Protocol):
    """What the hub uses of `asyncio.Transport`. Writing never waits; `abort` frees what is buffered."""

    def write(self, data: bytes) -> None:
        """Buffers bytes to send."""

    def writelines(self, list_of_data: list[bytes]) -> None:
        """Buffers several pieces to send in one go."""

    def get_write_buffer_size(self) -> int:
        """Bytes buffered in this process."""

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""

    def close(self) -> None:
        """Closes once the buffer is sent."""

    def abort(self) -> None:
        """Closes now and forgets the buffer."""


class Client:
    """A connection's subscriptions and health. Belongs to the hub; times are of the hub's timer, in seconds.

    `grant` is what one snapshot or replay may lie in the buffer beyond the usual bound; `stalled` counts the
    subscriptions that wait for the buffer to drain. `principal` is None until the client is admitted. `on_expiring`
    is called once, a while before `expires_at`; `on_end` when the connection is closed or found to be gone.
    `probes` are pings of an administrator's that were not answered yet, by their payloads.
    """

    __slots__ = (
        "_outbox",
        "_queued",
        "bucket",
        "closed",
        "endpoint",
        "expires_at",
        "grant",
        "high",
        "last_seen",
        "on_end",
        "on_expiring",
        "pinged",
        "principal",
        "probes",
        "slow_since",
        "stalled",
        "subscriptions",
        "transport",
        "wire",
    )

    def __init__(  # noqa: PLR0913 - what makes a connection
        self,
        transport: Transport,
        endpoint: str,
        *,
        high: int,
        bucket: TokenBucket,
        now: float,
        wire: Wire = WEBSOCKET,
    ) -> None:
        self.transport = transport
        self.wire = wire
        self.endpoint = endpoint
        self.high = high
        self.bucket = bucket
        self.last_seen = self.pinged = now
        self.expires_at: float | None = None
        self.principal: Principal | None = None
        self.probes: dict[bytes, Callable[[], None]] = {}
        self.on_expiring: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.slow_since: float | None = None
        self.stalled = 0
        self.grant = 0
        self.closed = False
        self._outbox: list[bytes] | None = None
        self._queued = 0

    @property
    def backlog(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    def ponged(self, payload: bytes) -> bool:
        """Takes a pong; False where it answers no probe."""
        answered = self.probes.pop(payload, None)
        if answered is not None:
            answered()
        return answered is not None

    def offer(self, buffer: bytes, touched: list["Client"]) -> bool:
        """Takes a buffer of the flush under way; False when the client is slow and must wait.

        With one subscription it is written at once; with several it is collected, and the client added to
        `touched`, so that all of a flush goes out in one write (`release`).
        """
        transport = self.transport
        if transport.get_write_buffer_size() + self._queued > self.high:
            return False
        if transport.is_closing():
            return True
        if len(self.subscriptions) == 1:
            transport.write(buffer)
            return True
        if self._outbox is None:
            self._outbox = []
            touched.append(self)
        self._outbox.append(buffer)
        self._queued += len(buffer)
        return True

    def release(self) -> None:
        """Writes what the flush collected."""
        outbox, self._outbox, self._queued = self._outbox, None, 0
        if outbox and not self.closed and not self.transport.is_closing():
            self.transport.writelines(outbox)

    def write(self, data: bytes) -> None:
        """Writes frames now, unless the connection is closed."""
        if not self.closed and data and not self.transport.is_closing():
            self.transport.write(data)

    def write_opening(self, data: bytes) -> None:
        """Writes a snapshot or replay, which may be larger than the buffer's usual bound."""
        self.grant = max(self.grant, len(data))
        self.write(data)

    def close(self, cause: Cause) -> None:
        """Writes a close frame; nothing is written after it."""
        self.write(self.wire.close(cause))
        self.closed = True
        self.ended()

    def admitted(self, principal: Principal) -> None:
        """The client is who it says, until its credential expires; again with a newer one."""
        self.principal = principal
        self.expires_at = principal.expires_at

    def ended(self) -> None:
        """The connection is closed or gone: whoever waits for that is told, once."""
        told, self.on_end = self.on_end, None
        if told is not None:
            told()
