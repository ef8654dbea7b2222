"""The live feed as server-sent events, for clients without WebSocket: any topics, resumed by `Last-Event-ID`.

The connections are the hub's clients as every WebSocket is: the same bounds, seats, evictions and metrics. An
event's id says where the client stands in all of its topics, so EventSource resumes by itself, and misses and
repeats nothing.
"""

import asyncio
from typing import Annotated

import orjson
from aiohttp import HttpVersion11, web
from pydantic import Field

from fleetpulse.auth import Role
from fleetpulse.config import Settings
from fleetpulse.errors import FleetpulseError, InvalidInputError
from fleetpulse.live import Filter, Hub, LiveEncoder
from fleetpulse.live.client import Client
from fleetpulse.live.sessions import canonical, filter_of
from fleetpulse.live.wires import EventStreamWire, positions_of
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import Query, operation, read_query

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
RETRY_MS = 3_000
MAX_ID = 8_000
HEADERS = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back
}
Resume = dict[str, dict[str, int]]
Claims = tuple[tuple[str, tuple[tuple[str, int], ...]], ...]


class Streamed(Query):
    """The query of the event stream."""

    topics: str = Field(
        min_length=1, max_length=8_000, description="Topics, with commas between: `agents,requests`."
    )
    filter: str = Field(
        "",
        max_length=8_000,
        description='A JSON object of fields of `data`, each with a value or values: `{"status": "error"}`.',
    )
    last_event_id: str = Field("", max_length=MAX_ID, description="As the header `Last-Event-ID`.")
    token: str | None = Field(None, description="A credential, where no header can be sent.")


class EventStreamEndpoints:
    """The handler of the event stream; add `routes()` to the application."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._max_topics = settings.live.max_subscriptions
        self._encoder = LiveEncoder()

    def routes(self) -> list[web.RouteDef]:
        """The routes to add."""
        return [web.get("/api/v1/live", self.stream, allow_head=False)]

    @requires(Role.VIEWER, query_token=True)
    @operation(
        "Live feed",
        media=(EVENT_STREAM,),
        query=Streamed,
        headers={LAST_EVENT_ID: Annotated[str, Field(description="The id of the last event that came.")]},
        problems=(404,),
    )
    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Topics as server-sent events.

        Events carry the messages of `/ws/live` as their data. Each one's id is the position in all topics: with it
        as `Last-Event-ID`, as EventSource sends it, the stream goes on where it ended. See `docs/live.md`.
        """
        query = read_query(request, Streamed)
        topics = self._topics(query)
        where = filter_of(query.filter)
        resume = _resume(request.headers.get(LAST_EVENT_ID) or query.last_event_id, topics)
        principal = principal_of(request)
        for topic in topics:
            self._hub.check(principal, topic)
        with self._hub.reserve(request.remote or ""):
            response = web.StreamResponse(headers=HEADERS)
            await response.prepare(request)
            if request.transport is None:
                return response
            wire = EventStreamWire(topics, self._claims(resume), chunked=request.version >= HttpVersion11)
            client = self._hub.connect(request.transport, "sse", wire)
            try:
                client.admitted(principal)
                await self._serve(client, wire, where, resume)
            finally:
                self._hub.disconnect(client)
            return response

    async def _serve(self, client: Client, wire: EventStreamWire, where: Filter | None, resume: Resume) -> None:
        """Subscribes to everything at once, then waits for the end."""
        ended = asyncio.Event()
        client.on_end = ended.set
        client.write(wire.begin(RETRY_MS))
        for topic in wire.topics:
            try:
                self._hub.subscribe(client, topic, self._encoder, where=where, resume=resume.get(topic) or None)
            except FleetpulseError as error:
                said = {"type": "error", "code": error.code, "message": error.detail, "topic": topic}
                client.write(wire.frame(orjson.dumps(said)))
        client.write(wire.stamp(self._hub.places(client)))
        if not client.closed:
            await ended.wait()

    def _topics(self, query: Streamed) -> tuple[str, ...]:
        topics = tuple(dict.fromkeys(canonical(name) for name in query.topics.split(",") if name))
        if not 0 < len(topics) <= self._max_topics:
            raise _invalid("topics", f"name 1 to {self._max_topics} topics")
        return topics

    def _claims(self, resume: Resume) -> Claims:
        """Positions in the streams of replicas that are not known here: they must outlast this connection."""
        unknown = {topic: position.items() - self._known(topic, position) for topic, position in resume.items()}
        return tuple((topic, tuple(sorted(claims))) for topic, claims in sorted(unknown.items()) if claims)

    def _known(self, topic: str, position: dict[str, int]) -> set[tuple[str, int]]:
        tops = self._hub.tops(topic)
        return {(epoch, offset) for epoch, offset in position.items() if tops is None or epoch in tops}


def _resume(event_id: str, topics: tuple[str, ...]) -> Resume:
    if len(event_id) > MAX_ID:
        raise _invalid(LAST_EVENT_ID, "is no id of this server")
    try:
        return positions_of(event_id, topics) if event_id else {}
    except ValueError as error:
        raise _invalid(LAST_EVENT_ID, str(error)) from error


def _invalid(name: str, message: str) -> InvalidInputError:
    return InvalidInputError("the call does not validate", [{"loc": ["query", name], "msg": message}])
