"""When a connection is pinged, and when it is given up: one look at one client, some times a second or less."""

from collections.abc import Callable

from fleetpulse.config import Live
from fleetpulse.live.client import Client
from fleetpulse.live.closing import Cause

SWEEP_SECONDS = 1.0
EXPIRING_SECONDS = 60.0  # how long before the end of its credential a client is told
LOOKS = 4  # looks within each of the times watched


class Health:
    """Judges clients by the settings: slow, over its buffer, silent, or with an expired credential."""

    def __init__(self, settings: Live, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        shortest = min(self._settings.ping_seconds, self._settings.dead_seconds, self._settings.evict_seconds)
        return min(SWEEP_SECONDS, shortest / LOOKS)

    def check(self, client: Client, now: float) -> Cause | None:
        """Why to close this client, if so; sends a ping where one is due."""
        if client.expires_at is not None and self._expired(client, client.expires_at):
            return Cause.EXPIRED
        if client.wire.hears and now - client.last_seen >= self._settings.dead_seconds:
            return Cause.DEAD
        slow = self._slow(client, now)
        if slow is None and now - max(client.last_seen, client.pinged) >= self._settings.ping_seconds:
            client.pinged = now
            client.write(client.wire.ping())
        return slow

    def _expired(self, client: Client, expires_at: float) -> bool:
        """Whether its credential is over; tells it once, where it wants to know, that this is near."""
        left = expires_at - self._clock()
        if 0 < left <= EXPIRING_SECONDS and client.on_expiring is not None:
            tell, client.on_expiring = client.on_expiring, None
            tell()
        return left <= 0

    def _slow(self, client: Client, now: float) -> Cause | None:
        """Any message or answer counts as life, but only reading counts as keeping up."""
        backlog = client.backlog
        if backlog > self._settings.evict_bytes + client.grant:
            return Cause.BUFFER
        if backlog <= self._settings.conflate_bytes and not client.stalled:
            client.slow_since = None
            client.grant = 0
        elif client.slow_since is None:
            client.slow_since = now
        elif now - client.slow_since >= self._settings.evict_seconds:
            return Cause.SLOW
        return None
