"""Seats of users over all replicas: each user's connections as leases in Redis, taken in one atomic step.

Promises: while Redis is there, all replicas together give a user no more seats than the limit, however many ask at
one instant. What a replica holds it renews; what it no longer renews, because it is gone, is free after
`cluster.gone_seconds`. While Redis is away or slow, every replica's own limit decides alone. What was let in then
is claimed when Redis is back, also where it comes back empty. Past the limit those yield whom the policy would not
have let in, or would have closed: the newest where newcomers are refused, the oldest where these make room.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.resting import rest
from fleetpulse.config import Cluster
from fleetpulse.errors import LimitedError

RENEW_BATCH = 200
PAUSE_SECONDS = 0.5  # after Redis failed
MAX_RELEASES = 50_000
LIFE = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
CLAIM = (
    LIFE
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREM', KEYS[1], ARGV[1]) -- a renewal may have come first
local held = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(held)
local gone = {}
while #held >= tonumber(ARGV[2]) do
  if ARGV[4] == '0' then return false end
  local oldest = table.remove(held, 1)
  redis.call('ZREM', KEYS[1], oldest)
  gone[#gone + 1] = oldest
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return gone
"""
)
RENEW = (
    LIFE
    + """
local lost = {}
for i, key in ipairs(KEYS) do
  local mine = ARGV[i + 3]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, now + ARGV[1], mine)
  redis.call('PEXPIRE', key, ARGV[1])
  local held = redis.call('ZRANGE', key, 0, -1)
  table.sort(held)
  for n = 1, #held - tonumber(ARGV[2]) do
    if held[ARGV[3] == '1' and n or #held + 1 - n] == mine then
      redis.call('ZREM', key, mine)
      lost[#lost + 1] = mine
    end
  end
end
return lost
"""
)
RELEASE = "for i, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[i]) end return #KEYS"
log = logging.getLogger(__name__)


class RedisClaims:
    """`live.presence.Claims` over Redis. Belongs to the event loop's thread.

    A seat is a member of the user's sorted set, `{when:013}:{connection}`, which sorts by age; its score is the end
    of its lease, by Redis' clock.
    """

    def __init__(self, bus: RedisBus, settings: Cluster, clock: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._lease = int(settings.gone_seconds * 1000)
        self._patience = settings.claim_seconds
        self._clock = clock
        self._held: dict[str, tuple[str, str]] = {}
        self._released: list[tuple[str, str]] = []
        self._wake = asyncio.Event()
        self._renew_at = 0.0
        self._limit, self._displace = 1, False  # as the newest claim said; without one nothing is held
        self._lost: Callable[[str, bool], object] = lambda _connection_id, _displaced: None
        bus.watch(self._reconnected)

    def on_lost(self, lost: Callable[[str, bool], object]) -> None:
        """Calls `lost(connection_id, displaced)` with who has no seat any more, until it is released.

        `displaced`: newer ones have the seats; else there are too many without it.
        """
        self._lost = lost

    async def claim(self, user_id: str, connection_id: str, limit: int, *, displace: bool) -> Sequence[str]:
        """Takes one of a user's seats; the ids of connections that have lost theirs for it.

        Raises LimitedError where none is free. Without Redis every seat that is free here is free.
        """
        self._limit, self._displace = limit, displace
        seat = self._key(user_id), f"{int(self._clock() * 1000):013}:{connection_id}"
        self._held[connection_id] = seat
        connection = self._bus.connection
        if connection is None:
            return ()
        key, member = seat
        try:
            async with asyncio.timeout(self._patience):
                gone = await connection.script(CLAIM, [key], [member, limit, self._lease, int(displace)])
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("seats cannot be claimed, this replica's own limit holds: %s", error)
            return ()
        if gone is None:
            del self._held[connection_id]
            raise LimitedError(f"chat.max_connections_per_user: this user has {limit} open already")
        return [_connection_of(each) for each in gone]

    def release(self, user_id: str, connection_id: str) -> None:
        """Gives a seat back; never waits, and means nothing where there is no such seat."""
        del user_id  # the seat knows
        seat = self._held.pop(connection_id, None)
        if seat is not None and len(self._released) < MAX_RELEASES:  # past it their leases end
            self._released.append(seat)
            self._wake.set()

    async def run(self) -> None:
        """Renews and gives back, one after the other, until cancelled."""
        pause = self._lease / 3000
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._give_back()
                if loop.time() >= self._renew_at:
                    self._renew_at = loop.time() + pause
                    await self._renew()
            except (RedisError, OSError) as error:
                log.debug("seats are not renewed: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
            await rest(self._wake, max(self._renew_at - loop.time(), 0.01))

    async def _renew(self) -> None:
        """A seat that Redis has forgotten is taken again; past the limit some lose theirs, once all are there."""
        for batch in _batches(list(self._held.values())):
            if self._bus.connection is None:
                return
            keys, members = zip(*batch, strict=True)
            policy = [self._lease, self._limit, int(self._displace)]
            for member in await self._bus.connection.script(RENEW, keys, [*policy, *members]):
                connection_id = _connection_of(member)
                if connection_id in self._held:  # it was not given back meanwhile
                    self._lost(connection_id, self._displace)

    async def _give_back(self) -> None:
        released, self._released = self._released, []
        for batch in _batches(released):
            if self._bus.connection is not None:  # or their leases end by themselves
                keys, members = zip(*batch, strict=True)
                await self._bus.connection.script(RELEASE, keys, members)

    def _reconnected(self, *, connected: bool) -> None:
        if connected:
            self._renew_at = 0.0
            self._wake.set()

    def _key(self, user_id: str) -> str:
        return self._bus.key("seats", user_id)


def _connection_of(member: bytes) -> str:
    return bytes(member).decode().partition(":")[2]


def _batches(seats: Sequence[tuple[str, str]]) -> list[Sequence[tuple[str, str]]]:
    return [seats[start : start + RENEW_BATCH] for start in range(0, len(seats), RENEW_BATCH)]
