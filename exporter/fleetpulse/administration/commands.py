"""What administrators do to connections, wherever they are: close them, ping them, end a session.

Connections of this replica are dealt with at once. Those of others are asked for over `Calls`; where no answer
comes in time, their outcome is `pending`.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from fleetpulse.administration.calls import Calls
from fleetpulse.live.closing import Cause
from fleetpulse.live.connection import Connection
from fleetpulse.live.presence import Presence

PING_SECONDS = 5.0
DISCONNECT = "disconnect"
PING = "ping"
EXPEL = "expel"


class Outcome(StrEnum):
    """What became of a command for one connection.

    - `disconnected`: it is closed.
    - `left`: it has left the session and stays open.
    - `answered`, `silent`: of a ping.
    - `pending`: it is another replica's, which did not answer in time.
    - `offline`: it, or the user, is not there.
    """

    DISCONNECTED = "disconnected"
    LEFT = "left"
    ANSWERED = "answered"
    SILENT = "silent"
    PENDING = "pending"
    OFFLINE = "offline"


class Done(NamedTuple):
    """What became of it for one recipient: a user, their connection and its replica where there is one."""

    recipient: str
    connection_id: str | None
    outcome: str
    replica: str | None = None
    round_trip_ms: float | None = None
    channel: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As the API shows it: what does not apply is left out."""
        shown = {name: value for name, value in self._asdict().items() if value is not None}
        return shown | {"connection_id": self.connection_id}


Act = Callable[[Connection, Mapping[str, Any]], Awaitable[Done]]


class Commands:
    """Carries commands out. `ping_seconds` is how long an answer to a ping may take."""

    def __init__(self, presence: Presence, calls: Calls, *, ping_seconds: float = PING_SECONDS) -> None:
        self._presence = presence
        self._calls = calls
        self._ping_seconds = ping_seconds
        for name, act in ((DISCONNECT, self._disconnect), (PING, self._ping), (EXPEL, self._expel)):
            calls.serve(name, self._served(act))

    async def disconnect(self, connections: Sequence[Connection], *, dry_run: bool) -> list[Done]:
        """Closes connections."""
        if dry_run:
            return [_done(each, Outcome.DISCONNECTED) for each in connections]
        return await self._everywhere(DISCONNECT, self._disconnect, connections, {})

    async def ping(self, connections: Sequence[Connection], *, dry_run: bool) -> list[Done]:
        """Measures the round trip of each connection, on the replica that holds it."""
        if dry_run:
            return [_done(each, Outcome.ANSWERED if each.is_alive else Outcome.OFFLINE) for each in connections]
        return await self._everywhere(PING, self._ping, connections, {}, self._ping_seconds)

    async def close_session(self, session_id: str, reason: str, *, dry_run: bool) -> list[Done]:
        """Has everyone leave a session: connections of that session alone are closed, others stay open."""
        members = self._presence.of_session(session_id)
        if dry_run:
            return [_done(each, _leaving(each, session_id)) for each in members]
        about = {"session_id": session_id, "reason": reason}
        return await self._everywhere(EXPEL, self._expel, members, about)

    async def _everywhere(
        self,
        name: str,
        act: Act,
        connections: Sequence[Connection],
        about: Mapping[str, Any],
        patience: float = 0.0,
    ) -> list[Done]:
        here = [each for each in connections if each.client is not None]
        there = [each for each in connections if each.client is None]
        arguments = dict(about) or {"ids": [each.connection_id for each in there]}
        replicas = {each.replica for each in there}
        done, answers = await asyncio.gather(
            asyncio.gather(*(act(each, about) for each in here)),
            self._calls.ask(name, arguments, replicas, patience),
        )
        return [*done, *_merged(there, answers)]

    def _served(self, act: Act) -> Callable[[Mapping[str, Any]], Awaitable[list[dict[str, Any]]]]:
        async def serve(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
            done = await asyncio.gather(*(act(each, arguments) for each in self._meant(arguments)))
            return [each.as_json() for each in done]

        return serve

    def _meant(self, arguments: Mapping[str, Any]) -> list[Connection]:
        """The connections of this replica that another one's call is about."""
        if "session_id" in arguments:
            found = self._presence.of_session(str(arguments["session_id"]))
        else:
            named = (self._presence.get(str(connection_id)) for connection_id in arguments["ids"])
            found = [each for each in named if each is not None]
        return [each for each in found if each.client is not None]

    async def _disconnect(self, connection: Connection, _about: Mapping[str, Any]) -> Done:
        self._presence.close(connection.connection_id, Cause.KICKED)
        return _done(connection, Outcome.DISCONNECTED)

    async def _expel(self, connection: Connection, about: Mapping[str, Any]) -> Done:
        session_id = str(about["session_id"])
        outcome = _leaving(connection, session_id)
        if outcome is Outcome.LEFT and connection.expel is not None:
            connection.expel(session_id, str(about["reason"]))
        else:
            self._presence.close(connection.connection_id, Cause.KICKED)
        return _done(connection, outcome)

    async def _ping(self, connection: Connection, _about: Mapping[str, Any]) -> Done:
        client = connection.client
        if client is None or client.closed:
            return _done(connection, Outcome.OFFLINE)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[float] = loop.create_future()
        payload = b"probe" + secrets.token_hex(8).encode()

        def note() -> None:
            if not answered.done():
                answered.set_result(time.perf_counter())

        client.probes[payload] = note
        began = time.perf_counter()
        client.write(client.wire.ping(payload))
        try:
            async with asyncio.timeout(self._ping_seconds):
                took = await answered - began
        except TimeoutError:
            return _done(connection, Outcome.SILENT)
        finally:
            client.probes.pop(payload, None)
        return _done(connection, Outcome.ANSWERED)._replace(round_trip_ms=round(took * 1_000, 3))


def _leaving(connection: Connection, session_id: str) -> Outcome:
    """What the end of a session means to a member; of another replica's, whether it is of that session alone."""
    stays = connection.session_id != session_id and (connection.client is None or connection.expel is not None)
    return Outcome.LEFT if stays else Outcome.DISCONNECTED


def _done(connection: Connection, outcome: Outcome) -> Done:
    return Done(connection.user_id, connection.connection_id, outcome, connection.replica)


def _merged(there: Iterable[Connection], answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Done]:
    """What other replicas answered; a connection that they do not speak of is gone, or they did not answer."""
    said = {str(each["connection_id"]): each for result in answers.values() for each in result}
    silent = [each for each in there if each.connection_id not in said]
    gone = [_done(each, Outcome.OFFLINE if each.replica in answers else Outcome.PENDING) for each in silent]
    return [Done(**{name: answer.get(name) for name in Done._fields}) for answer in said.values()] + gone  # type: ignore[arg-type]  # JSON
