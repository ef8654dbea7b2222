import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from tests.live.pipe import Pipe

from fleetpulse.config import Chat, Live
from fleetpulse.errors import LimitedError
from fleetpulse.instruments import Instruments
from fleetpulse.live import Cause, Hub
from fleetpulse.live.connection import Connection
from fleetpulse.live.presence import EXPIRE_SECONDS, Presence


class Air:
    """What two replicas say to each other, as JSON would carry it."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    def end(self, replica: str) -> "End":
        self.ends.append(End(self, replica))
        return self.ends[-1]


class End:
    """One replica's bus."""

    def __init__(self, air: Air, replica: str) -> None:
        self.replica = replica
        self._air = air
        self.handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {}

    def send(self, channel: str, payload: Mapping[str, Any]) -> None:
        for end in self._air.ends:
            if end is not self:
                end.handlers[channel](payload)

    def on(self, channel: str, handler: Callable[[Mapping[str, Any]], None]) -> None:
        self.handlers[channel] = handler


class Heard:
    """What a listener is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []

    def connected(self, connection: Connection) -> None:
        """Not looked at."""

    def disconnected(self, connection: Connection) -> None:
        raise RuntimeError(f"a listener that fails harms nobody: {connection}")

    def user_changed(self, user_id: str, sessions: Iterable[str], *, online: bool) -> None:
        del sessions
        self.told.append((user_id, online))


class House:
    """One replica's registry."""

    def __init__(self, end: End, claims: Any = None, **chat: Any) -> None:
        self.now = 1_000.0
        self.hub = Hub(Live(), Instruments())
        self.presence = Presence(Chat(**chat), self.hub.close, end, claims, lambda: self.now)
        self.heard = Heard()
        self.presence.listen(self.heard)

    def connection(self, name: str, user: str = "anna") -> Connection:
        return Connection(name, user, "chat", self.now)

    async def open(self, name: str, user: str = "anna") -> Connection:
        connection = self.connection(name, user)
        await self.presence.admit(connection)
        assert self.presence.open(connection, self.hub.connect(Pipe(), "chat"))
        return connection


async def test_users_and_sessions_are_found_and_forgotten() -> None:
    house = House(Air().end("a"))
    first, second = await house.open("c1"), await house.open("c2")
    other = await house.open("c3", "ben")
    house.presence.joined(first, "s1")
    house.presence.joined(other, "s1")
    assert house.presence.of_user("anna") == [first, second]
    assert house.presence.of_session("s1") == [first, other]
    assert (house.presence.is_in("anna", "s1"), house.presence.is_in("anna", "s2")) == (True, False)
    totals = house.presence.totals()
    assert (totals["active_connections"], totals["active_users"], totals["active_sessions"]) == (3, 2, 1)
    assert totals["total_session_connections"] == 2
    for connection in (first, second, other):
        house.presence.leave(connection)
        house.presence.leave(connection)  # twice is once
    assert (house.presence.users(), house.presence.sessions(), house.presence.connections()) == ([], [], [])
    assert house.presence.totals()["disconnections"] == 3
    assert house.heard.told == [("anna", True), ("ben", True), ("anna", False), ("ben", False)]


async def test_a_seat_is_taken_before_the_other_replicas_are_asked() -> None:
    class Slow:
        async def claim(self, *_: object, **__: object) -> Sequence[str]:
            await asyncio.sleep(0.01)
            return ()

        def release(self, user_id: str, connection_id: str) -> None:
            released.append((user_id, connection_id))

    released: list[tuple[str, str]] = []
    house = House(Air().end("a"), Slow(), max_connections_per_user=2)
    asked = [house.presence.admit(house.connection(f"c{number}")) for number in range(10)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(each, LimitedError) for each in outcomes] == [False] * 2 + [True] * 8
    assert released == []


async def test_a_seat_that_the_replicas_refuse_is_given_back() -> None:
    class Full:
        async def claim(self, *_: object, **__: object) -> Sequence[str]:
            raise LimitedError("elsewhere they are all taken")

        def release(self, user_id: str, connection_id: str) -> None:
            """There is none."""

    house = House(Air().end("a"), Full(), max_connections_per_user=1)
    for _ in range(3):
        with pytest.raises(LimitedError, match="elsewhere"):
            await house.presence.admit(house.connection("c1"))


async def test_the_oldest_is_displaced_even_while_it_is_being_opened() -> None:
    house = House(Air().end("a"), at_limit="close_oldest", max_connections_per_user=1)
    first = house.connection("c1")
    await house.presence.admit(first)
    second = await house.open("c2")
    pipe = Pipe()
    client = house.hub.connect(pipe, "chat")
    assert not house.presence.open(first, client)
    assert client.closed
    third = await house.open("c3")
    assert (second.is_alive, third.is_alive) == (False, True)
    house.presence.leave(first)
    house.presence.leave(second)
    assert house.presence.of_user("anna") == [third]


async def test_replicas_hear_of_each_other_and_forget_who_fell_silent() -> None:
    air = Air()
    here, there = House(air.end("a")), House(air.end("b"))
    connection = await there.open("c1")
    there.presence.joined(connection, "s1")
    (seen,) = here.presence.of_session("s1")
    assert (seen.replica, seen.user_id, seen.client, seen.sessions) == ("b", "anna", None, {"s1"})
    assert list(here.presence.remote) == ["c1"]
    there.presence.left(connection, "s1")
    assert here.presence.of_session("s1") == []
    assert here.presence.of_user("anna")[0].as_json()["session_id"] is None
    here.now += EXPIRE_SECONDS + 1
    here.presence.expire()
    assert here.presence.users() == []
    assert here.heard.told == [("anna", True), ("anna", False)]


async def test_a_connection_is_closed_on_whichever_replica_it_is() -> None:
    air = Air()
    here, there = House(air.end("a")), House(air.end("b"))
    connection = await there.open("c1")
    assert here.presence.close("c1", Cause.REPLACED)
    assert not connection.is_alive
    assert not here.presence.close("nobody", Cause.REPLACED)
