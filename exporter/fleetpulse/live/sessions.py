"""What the clients of each endpoint may say, and what is answered: text in, calls to the hub and frames out.

A message that cannot be understood is answered with an error message; it never ends the connection, and never
raises. The protocol of `/ws/live` is described in `docs/live.md`.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleetpulse.errors import FleetpulseError, InvalidInputError, MalformedError
from fleetpulse.live import frames
from fleetpulse.live.client import Client
from fleetpulse.live.encoders import AlertEncoder, Encoder
from fleetpulse.live.filters import Filter
from fleetpulse.live.hub import Hub
from fleetpulse.live.topics import Position

MAX_FILTER_FIELDS = 16
MAX_FILTER_VALUES = 200
MAX_ERRORS = 10
MAX_NAME = 260
MAX_TAG = 200
MAX_INT = 2**53 - 1

Value = Annotated[str, Field(max_length=1_000)] | int | float | bool | None
Values = Value | Annotated[list[Value], Field(min_length=1, max_length=MAX_FILTER_VALUES)]
Tag = Annotated[str, Field(max_length=MAX_TAG)] | Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)] | None
TopicName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class _Request(BaseModel):
    """Base of client messages; `id`, where given, comes back in the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: Tag = None


class _Resume(BaseModel):
    epoch: Annotated[str, Field(max_length=64)]
    offset: Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Subscribe(_Request):
    type: Literal["subscribe"]
    topic: TopicName
    filter: Annotated[dict[str, Values], Field(max_length=MAX_FILTER_FIELDS)] = {}
    resume: _Resume | None = None


class _Unsubscribe(_Request):
    type: Literal["unsubscribe"]
    topic: TopicName


class _Ping(_Request):
    type: Literal["ping"]


class _Pong(_Request):
    type: Literal["pong"]


class _Auth(_Request):
    """A credential; the first message where the server asks for one, and of no effect later."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=16_384, repr=False)] = ""


_Any = Annotated[_Subscribe | _Unsubscribe | _Ping | _Pong | _Auth, Field(discriminator="type")]
_REQUESTS: TypeAdapter[_Subscribe | _Unsubscribe | _Ping | _Pong | _Auth] = TypeAdapter(_Any)
_AUTH = TypeAdapter(_Auth)


def token_of(text: str) -> str | None:
    """The token of a first message `{"type":"auth","token":...}`; None where it is anything else."""
    try:
        return _AUTH.validate_json(text).token
    except ValidationError:
        return None


class Session:
    """One client of one endpoint, talking to the hub; the base answers pings and nothing else."""

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client

    def opened(self) -> None:
        """The connection is open and admitted."""

    def received(self, text: str) -> None:
        """A text message came in."""
        try:
            request = _REQUESTS.validate_json(text)
        except ValidationError as error:
            self._send(_invalid(error) | _tag_of(text))
            return
        self._guarded(lambda: self._handle(request), request.id)

    def refused(self, error: FleetpulseError) -> None:
        """Tells the client of an error that a message of its caused."""
        self._send(_error(error))

    def _handle(self, request: _Request) -> None:
        if isinstance(request, _Ping):
            self._send(self._pong() | _tagged(request.id))
        elif isinstance(request, _Subscribe | _Unsubscribe):
            raise InvalidInputError("this address has one fixed topic; /ws/live takes subscriptions")

    def _pong(self) -> dict[str, Any]:
        return {"type": "pong"}

    def _subscribe_fixed(self, topic: str, encoder: Encoder) -> None:
        self._guarded(lambda: self._hub.subscribe(self._client, topic, encoder), None)

    def _guarded(self, action: Callable[[], None], tag: Tag) -> None:
        try:
            action()
        except FleetpulseError as error:
            self._send(_error(error) | _tagged(tag))

    def _send(self, message: dict[str, Any]) -> None:
        self._client.write(frames.text(orjson.dumps(message)))


class PoolSession(Session):
    """One agent pool's metrics, as its document has it."""

    def __init__(self, hub: Hub, client: Client, encoder: Encoder, pool_id: str) -> None:
        super().__init__(hub, client)
        self._encoder = encoder
        self._pool_id = pool_id

    def opened(self) -> None:
        """Sends `initial_metrics`; updates follow."""
        self._subscribe_fixed(f"agents/{self._pool_id}", self._encoder)


class AlertSession(Session):
    """The alerts feed, as its document has it."""

    def __init__(self, hub: Hub, client: Client, encoder: AlertEncoder) -> None:
        super().__init__(hub, client)
        self._encoder = encoder

    def opened(self) -> None:
        """Sends the last alerts; new ones follow."""
        self._subscribe_fixed("alerts", self._encoder)

    def _pong(self) -> dict[str, Any]:
        return {"type": "pong", "timestamp": self._encoder.timestamp()}


class LiveSession(Session):
    """Many topics on one connection; `topics` are subscribed to at once, as the address asked."""

    def __init__(self, hub: Hub, client: Client, encoder: Encoder, topics: Sequence[str] = ()) -> None:
        super().__init__(hub, client)
        self._encoder = encoder
        self._topics = topics

    def opened(self) -> None:
        """Subscribes to the topics named in the address; what cannot be is answered with an error."""
        for topic in self._topics:
            request = _Subscribe(type="subscribe", topic=topic[:MAX_NAME] or "?")
            self._guarded(lambda request=request: self._handle(request), None)  # type: ignore[misc]

    def _handle(self, request: _Request) -> None:
        if isinstance(request, _Subscribe):
            self._subscribe(request)
        elif isinstance(request, _Unsubscribe):
            topic = _canonical(request.topic)
            self._hub.unsubscribe(self._client, topic)
            self._send({"type": "unsubscribed", "topic": topic} | _tagged(request.id))
        else:
            super()._handle(request)

    def _subscribe(self, request: _Subscribe) -> None:
        resume = request.resume
        self._hub.subscribe(
            self._client,
            _canonical(request.topic),
            self._encoder,
            where=Filter.of(request.filter),
            resume=None if resume is None else Position(resume.epoch, resume.offset),
            tag=request.id,
        )


def _canonical(topic: str) -> str:
    """`agents/*` and `agents/` are `agents`: the topic of the whole family."""
    return topic.removesuffix("*").removesuffix("/") if topic.endswith(("/*", "/")) else topic


def _tagged(tag: Tag) -> dict[str, Any]:
    return {} if tag is None else {"id": tag}


def _tag_of(text: str) -> dict[str, Any]:
    """The `id` of a message that failed validation, if it can be made out."""
    try:
        tag = orjson.loads(text)["id"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return {}
    return {"id": tag} if isinstance(tag, str | int) and len(str(tag)) <= MAX_TAG else {}


def _error(error: FleetpulseError) -> dict[str, Any]:
    return {"type": "error", "code": error.code, "message": error.detail}


def _invalid(error: ValidationError) -> dict[str, Any]:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
    if found and found[0]["type"] == "json_invalid":
        return _error(MalformedError("the message is not JSON"))
    named = [{"loc": [str(part)[:200] for part in item["loc"]], "msg": item["msg"][:500]} for item in found]
    return _error(InvalidInputError("the message breaks the protocol")) | {"errors": named}
