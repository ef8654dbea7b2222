"""Recorded streams played again: as live topics, and as plain WebSockets that send what was recorded, as it was."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal, NotRequired
from zoneinfo import ZoneInfo

from aiohttp import WSCloseCode, web
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.config import Limits
from fleetpulse.errors import MalformedError, UnauthenticatedError
from fleetpulse.journal import rfc3339
from fleetpulse.live import Hub
from fleetpulse.tap.replay import Ending, Order, Replay
from fleetpulse.tap.replays import Replays, Running
from fleetpulse.web.answers import Paged, json_answer, page
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import admits_websocket, principal_of, requires
from fleetpulse.web.operations import Answer, Query, operation
from fleetpulse.web.searching import seconds
from fleetpulse.web.sockets import Doorkeeper

MAX_SPEED = 1_000.0
CLOSE_SECONDS = 2.0
PING_SECONDS = 30.0
CODES: dict[Ending, int] = {
    "finished": WSCloseCode.OK,
    "stopped": WSCloseCode.GOING_AWAY,
    "slow": WSCloseCode.TRY_AGAIN_LATER,
}
MESSAGE_BYTES = 65_536  # of what a client sends: it is read and left alone
EXAMPLE = {"stream": "shop", "speed": 10, "topic": "demo"}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class NewReplay(BaseModel):
    """What to play again, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: Name = Field(description="Name of a recorded stream.")
    start: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="Messages received from then on: RFC 3339 with an offset, or a date."
    )
    end: Annotated[str, Field(max_length=40)] | None = Field(None, description="Messages received before then.")
    speed: Annotated[float, Field(ge=0, le=MAX_SPEED, allow_inf_nan=False)] = Field(
        1.0, description="1: as fast as it was, 2: twice as fast; 0: as fast as it is taken."
    )
    max_pause_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Longer silences are cut to this."
    )
    topic: Name | None = Field(None, description="Its name; without one, it gets a random one.")
    loop: bool = Field(False, description="Begin again at the end.")


class ListenQuery(Query):
    """The query of a replay's WebSocket."""

    token: str | None = Field(None, description="A credential, where no header can be sent.")


class ReplayShown(TypedDict):
    """A replay that runs.

    `topic` is that of the live feed, `websocket` the address that sends what was recorded as it was. `first` and
    `last` are the offsets of its messages, their ids in the journal; `offset` is that of the one played last, 0
    before the first. `skipped` ones had no payload, so that plain WebSockets did not get them.
    """

    id: str
    topic: str
    websocket: str
    stream: str
    state: Literal["waiting", "playing", "paused"]
    speed: float
    loop: bool
    max_pause_seconds: NotRequired[float]
    first: int
    last: int
    offset: int
    played: int
    skipped: int
    passes: int
    websockets: int
    started_at: datetime
    started_by: str


class ReplaysShown(TypedDict):
    """The replays that run, by id."""

    replays: list[ReplayShown]
    next_cursor: str | None


class ReplayEndpoints:
    """CONTRACT E: replay."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        replays: Replays,
        hub: Hub,
        guard: Doorkeeper,
        limits: Limits,
        zone: ZoneInfo,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._replays = replays
        self._hub = hub
        self._guard = guard
        self._limits = limits
        self._zone = zone
        self._clock = clock
        self._new = Decoder(NewReplay, 1)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/v1/replays", self.replays),
            web.post("/api/v1/replays", self.start),
            web.get("/api/v1/replays/{replay_id}", self.replay),
            web.delete("/api/v1/replays/{replay_id}", self.end),
            web.get("/ws/replays/{replay_id}", self.listen),
        ]

    @requires(Role.VIEWER)
    @operation("Messages", answer=ReplaysShown, query=Paged)
    async def replays(self, request: web.Request) -> web.Response:
        """The replays that run."""
        every = sorted(map(_shown, self._replays.all()), key=lambda each: each["id"])
        shown, cursor = page(request, every, lambda each: each["id"])
        return json_answer({"replays": shown, "next_cursor": cursor})

    @requires(Role.OPERATOR)
    @operation(
        "Messages",
        answer=ReplayShown,
        status=201,
        body=NewReplay,
        problems=(404,),
        examples={"Ten times as fast": EXAMPLE},
        answers={201: Answer("It runs", ReplayShown, headers={"Location": "Its address."})},
    )
    async def start(self, request: web.Request) -> web.Response:
        """Plays a recorded stream again.

        It begins when somebody listens to its topic or its WebSocket, pauses while nobody does, and ends after ten
        minutes of that. 404 where nothing of the stream is stored, 503 where `tap.replays` run already.
        """
        body = self._new.one(await read_body(request, self._limits))
        now = datetime.fromtimestamp(self._clock(), self._zone)
        order = Order(
            body.stream,
            seconds("start", body.start, now),
            seconds("end", body.end, now),
            body.speed,
            body.max_pause_seconds,
            body.loop,
        )
        running = await self._replays.start(order, principal_of(request).subject, body.topic)
        answer = json_answer(_shown(running), 201)
        answer.headers["Location"] = f"/api/v1/replays/{running.replay.name}"
        return answer

    @requires(Role.VIEWER)
    @operation("Messages", answer=ReplayShown)
    async def replay(self, request: web.Request) -> web.Response:
        """One replay that runs."""
        return json_answer(_shown(self._replays.one(request.match_info["replay_id"])))

    @requires(Role.OPERATOR)
    @operation("Messages", status=204, media=())
    async def end(self, request: web.Request) -> web.Response:
        """Ends a replay, and closes its WebSockets."""
        await self._replays.end(request.match_info["replay_id"])
        return web.Response(status=204)

    @admits_websocket
    @operation("Messages", status=101, query=ListenQuery, problems=(400, 404), websocket=True)
    async def listen(self, request: web.Request) -> web.StreamResponse:
        """The messages of a replay exactly as they were recorded, text or binary, and nothing else.

        What clients send is read and left alone. A credential has to come with the handshake. The first subprotocol
        that the client offers is chosen. It closes with 1000 where the recording has ended.
        """
        with self._hub.reserve(request.remote or ""):
            subprotocol = await self._admit(request)
            replay = self._replays.one(request.match_info["replay_id"]).replay
            socket = await _upgraded(request, subprotocol)
            await self._serve(socket, request.transport, replay)
            return socket

    async def _admit(self, request: web.Request) -> str | None:
        """Lets viewers in; the subprotocol to speak. Raises UnauthenticatedError, ForbiddenError."""
        offered = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        protocols = tuple(part for part in offered if part)
        admission = await self._guard.admit_websocket(request, Role.VIEWER, protocols=protocols)
        if admission.principal is None:
            raise UnauthenticatedError("a credential has to come with the handshake of this address")
        return admission.subprotocol

    async def _serve(
        self, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None, replay: Replay
    ) -> None:
        """Until the client is gone, or the replay over."""
        listener = _Listener(socket, transport)
        replay.listeners.add(listener)
        if replay not in [each.replay for each in self._replays.all()]:  # it has ended during the handshake
            await replay.end("finished")
        try:
            async for _ in socket:
                pass
        finally:
            replay.listeners.discard(listener)


async def _upgraded(request: web.Request, subprotocol: str | None) -> web.WebSocketResponse:
    """The open WebSocket. Raises MalformedError where none is asked for."""
    socket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        heartbeat=PING_SECONDS,
        max_msg_size=MESSAGE_BYTES,
        protocols=() if subprotocol is None else (subprotocol,),
        compress=False,
    )
    if not socket.can_prepare(request).ok:
        raise MalformedError("this address speaks WebSocket: send an upgrade request (version 13)")
    await socket.prepare(request)
    return socket


class _Listener:
    """A plain WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self._socket = socket
        self._transport = transport

    async def hear(self, payload: str | bytes) -> None:
        """Sends a message; waits while the client takes none."""
        if isinstance(payload, str):
            await self._socket.send_str(payload)
        else:
            await self._socket.send_bytes(payload)

    async def end(self, ending: Ending) -> None:
        """Closes, by force where the client takes nothing; the handler's reader ends by that."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=CODES[ending])
        except (TimeoutError, ConnectionError):
            if isinstance(self._transport, asyncio.WriteTransport):
                self._transport.abort()


def _shown(running: Running) -> ReplayShown:
    replay, order = running.replay, running.replay.order
    shown: ReplayShown = {
        "id": replay.name,
        "topic": replay.topic,
        "websocket": f"/ws/replays/{replay.name}",
        "stream": order.stream,
        "state": replay.state,
        "speed": order.speed,
        "loop": order.loop,
        "first": replay.stretch.first,
        "last": replay.stretch.last,
        "offset": replay.offset,
        "played": replay.played,
        "skipped": replay.skipped,
        "passes": replay.passes,
        "websockets": len(replay.listeners),
        "started_at": rfc3339(running.at),  # type: ignore[typeddict-item]  # as JSON has it
        "started_by": running.by,
    }
    if order.longest is not None:
        shown["max_pause_seconds"] = order.longest
    return shown
