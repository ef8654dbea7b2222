"""The chat service's addresses: three WebSockets, and a session's stored messages."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from aiohttp import web
from pydantic import BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fleetpulse.auth import Principal, Role
from fleetpulse.chat.messages import message_json
from fleetpulse.chat.requests import Resume
from fleetpulse.chat.service import Chat
from fleetpulse.chat.session import ChatSession
from fleetpulse.chat.talk import MonitorSession, new_connection
from fleetpulse.errors import ForbiddenError, InvalidInputError
from fleetpulse.live.client import Client
from fleetpulse.live.connection import Connection
from fleetpulse.live.sessions import Session
from fleetpulse.signals import Identifier
from fleetpulse.web.answers import MAX_PAGE, digits, json_answer
from fleetpulse.web.guard import Admission, admits_websocket, principal_of, requires
from fleetpulse.web.operations import Q, Query, operation, read_query
from fleetpulse.web.problems import validation_errors
from fleetpulse.web.sockets import AUTH_SECONDS, Doorkeeper, Sockets

SESSION_ID: TypeAdapter[str] = TypeAdapter(Identifier)
TOKEN = "A credential, where no header can be sent."  # noqa: S105 - a description
CURSOR = "`next_cursor` of the page before; without it, the newest."
Offset = Annotated[int | None, Field(ge=0, le=2**63 - 1)]
Epoch = Annotated[str, StringConstraints(min_length=1, max_length=64)] | None


class ChatQuery(Query):
    """The query of the chat addresses."""

    token: str | None = Field(None, description=TOKEN)
    access_token: str | None = Field(None, description=TOKEN)
    user_id: Identifier | None = Field(
        None, description="Who connects, where no credentials are configured; else it must be who the token is for."
    )
    compress: str | None = Field(None, description="`1`: compress messages, where the server does so on request.")
    inbox_epoch: Epoch = Field(None, description="With `inbox_offset`: the `epoch` of the inbox it is of.")
    inbox_offset: Offset = Field(
        None,
        description="The client keeps its place: it has its inbox up to here, and says when it has more.",
    )

    @property
    def received(self) -> Resume | None:
        """Up to where the client has its inbox."""
        if self.inbox_offset is None:
            return None
        return Resume(epoch=self.inbox_epoch, offset=self.inbox_offset)


class SessionQuery(ChatQuery):
    """The query of one session's address."""

    epoch: Epoch = Field(None, description="With `offset`: where the client stood, to go on from there.")
    offset: Offset = Field(None, description="The newest `offset` that the client has of the session.")

    @property
    def resume(self) -> Resume | None:
        """Where the client stood in the session."""
        if self.offset is None or self.epoch is None:
            return None
        return Resume(epoch=self.epoch, offset=self.offset)


class MonitorQuery(Query):
    """The query of the monitor's address."""

    token: str | None = Field(None, description=TOKEN)
    access_token: str | None = Field(None, description=TOKEN)
    user_id: Identifier | None = Field(None, description="Who connects, where no credentials are configured.")
    compress: str | None = Field(None, description="`1`: compress messages, where the server does so on request.")


class HistoryQuery(Query):
    """Which page of a session's messages."""

    limit: Annotated[int, BeforeValidator(digits)] = Field(50, ge=1, le=MAX_PAGE, description="Most in a page.")
    cursor: Annotated[str, Field(pattern="^[0-9a-f]{0,15}$")] = Field("", description=CURSOR)
    q: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Only messages whose text holds this, as it is; ASCII letters in either case."
    )


class StoredMessage(TypedDict):
    """A stored message; what it does not have is left out.

    `status` says how far it got: `delivered` to a client of somebody else, `read` by somebody else. Messages to
    everyone stay `sent` until one has read them.
    """

    message_id: str
    received_at: datetime
    timestamp: datetime
    kind: str
    user_id: str
    text: str
    status: Literal["sent", "delivered", "read"]
    session_id: NotRequired[str]
    recipient: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]


class StoredMessages(TypedDict):
    """A session's messages, the newest first. `next_cursor` is null on the last page."""

    session_id: str
    messages: list[StoredMessage]
    next_cursor: str | None


class AnyRole:
    """Lets in who may either look or report: people and bots talk to each other."""

    def __init__(self, guard: Doorkeeper) -> None:
        self._guard = guard

    async def admit_websocket(
        self, request: web.Request, role: Role, *, protocols: tuple[str, ...] = ()
    ) -> Admission:
        """See `web.guard.Guard`."""
        try:
            return await self._guard.admit_websocket(request, role, protocols=protocols)
        except ForbiddenError:
            if role is not Role.VIEWER:
                raise
            return await self._guard.admit_websocket(request, Role.REPORTER, protocols=protocols)

    async def admit_token(self, token: str, role: Role) -> Principal:
        """See `web.guard.Guard`."""
        try:
            return await self._guard.admit_token(token, role)
        except ForbiddenError:
            if role is not Role.VIEWER:
                raise
            return await self._guard.admit_token(token, Role.REPORTER)


class ChatEndpoints:
    """CONTRACT D: the live service's own addresses."""

    def __init__(self, chat: Chat, guard: Doorkeeper, *, auth_seconds: float = AUTH_SECONDS) -> None:
        self._chat = chat
        self._sockets = Sockets(chat.hub, chat.settings.live, AnyRole(guard), auth_seconds=auth_seconds)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/ws/chat", self.chat),
            web.get("/ws/chat/session/{session_id}", self.session),
            web.get("/ws/admin/monitor", self.monitor),
            web.get("/api/v1/chat/sessions/{session_id}/messages", self.messages),
        ]

    @admits_websocket
    @operation("Chat", status=101, query=ChatQuery, problems=(400, 422, 429), websocket=True)
    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Chat in several sessions on one connection.

        Join and leave sessions, write, hear what is addressed to you. See `docs/chat.md`.
        """
        query = _read(request, ChatQuery)
        seat = _Seat(self._chat, "chat", query.user_id)

        def session(client: Client) -> Session:
            return ChatSession(self._chat, client, seat.connection, received=query.received)

        return await self._sockets.serve(request, "chat", session, gate=seat.take)

    @admits_websocket
    @operation(
        "Chat",
        status=101,
        path={"session_id": Identifier},
        query=SessionQuery,
        problems=(400, 422, 429),
        websocket=True,
    )
    async def session(self, request: web.Request) -> web.StreamResponse:
        """Chat in one session, joined at once.

        `epoch` and `offset` go on from where a client stood; without them, the last messages come first.
        """
        query = _read(request, SessionQuery)
        session_id = _session_id(request)
        seat = _Seat(self._chat, "session", query.user_id, session_id)

        def session(client: Client) -> Session:
            return ChatSession(self._chat, client, seat.connection, resume=query.resume, received=query.received)

        return await self._sockets.serve(request, "session", session, gate=seat.take)

    @admits_websocket
    @operation("Chat", status=101, query=MonitorQuery, problems=(400, 422, 429), websocket=True)
    async def monitor(self, request: web.Request) -> web.StreamResponse:
        """Statistics at once and every minute, who comes and goes, connection events; for the role admin."""
        seat = _Seat(self._chat, "monitor", _read(request, MonitorQuery).user_id)

        def session(client: Client) -> Session:
            return MonitorSession(self._chat, client, seat.connection)

        return await self._sockets.serve(request, "monitor", session, role=Role.ADMIN, gate=seat.take)

    @requires(Role.VIEWER)
    @operation("Chat", answer=StoredMessages, path={"session_id": Identifier}, query=HistoryQuery)
    async def messages(self, request: web.Request) -> web.Response:
        """A session's stored messages, the newest first; for who may enter it."""
        query = read_query(request, HistoryQuery)
        session_id = _session_id(request)
        if not principal_of(request).may_enter(session_id):
            raise ForbiddenError("this session is not among those of the credential")
        before = int(query.cursor, 16) if query.cursor else None
        found = await self._chat.archive.page(session_id, query.limit, before, query.q or None)
        shown = [
            message_json(row.as_json()) | {"status": found.fates[number]} for number, row in found.rows.items()
        ]
        cursor = None if found.next_id is None else f"{found.next_id:x}"
        return json_answer({"session_id": session_id, "messages": shown, "next_cursor": cursor})


class _Seat:
    """The place that one handshake takes among those of its user."""

    def __init__(self, chat: Chat, endpoint: str, user_id: str | None, session_id: str | None = None) -> None:
        self._chat = chat
        self._endpoint = endpoint
        self._user_id = user_id
        self._session_id = session_id
        self.connection: Connection

    def take(self, principal: Principal) -> AbstractAsyncContextManager[None]:
        """Holds it while the connection lasts. Raises ForbiddenError, LimitedError."""
        self.connection = new_connection(
            self._endpoint, principal, self._chat.clock(), user_id=self._user_id, session_id=self._session_id
        )
        return self._chat.presence.seated(self.connection)


def _read(request: web.Request, model: type[Q]) -> Q:
    """The names of a handshake's query that are known: clients add their own. Raises InvalidInputError."""
    try:
        return model.model_validate(
            {name: request.query[name] for name in model.model_fields if name in request.query}
        )
    except ValidationError as error:
        errors = [{**each, "loc": ["query", *each["loc"]]} for each in validation_errors(error)]
        raise InvalidInputError("the query does not validate", errors) from error


def _session_id(request: web.Request) -> str:
    try:
        return SESSION_ID.validate_python(request.match_info["session_id"])
    except ValidationError as error:
        raise InvalidInputError("the session_id breaks the contract", validation_errors(error)) from error
