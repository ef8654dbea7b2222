"""What the clients of each endpoint may say, and what is answered: text in, calls to the hub and frames out.

A message that cannot be understood is answered with an error message; it never ends the connection, and never
raises. The protocol of `/ws/live` is described in `docs/live.md`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from fleetpulse.errors import FleetpulseError, ForbiddenError, InvalidInputError, MalformedError
from fleetpulse.live.client import Client
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.filters import Filter
from fleetpulse.live.hub import Hub

MAX_FILTER_FIELDS = 16
MAX_FILTER_VALUES = 200
MAX_ERRORS = 10
MAX_TOLD = 5
MAX_NAME = 260
MAX_TAG = 200
MAX_ORIGINS = 64
MAX_INT = 2**53 - 1

Value = Annotated[str, Field(max_length=1_000)] | int | float | bool | None
Values = Value | Annotated[list[Value], Field(min_length=1, max_length=MAX_FILTER_VALUES)]
Tag = Annotated[str, Field(max_length=MAX_TAG)] | Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)] | None
Filters = Annotated[dict[str, Values], Field(max_length=MAX_FILTER_FIELDS)]
TopicName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class _Request(BaseModel):
    """Base of client messages; `id`, where given, comes back in the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: Tag = None


_Epoch = Annotated[str, Field(max_length=64)]
_Offset = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Resume(BaseModel):
    """Where the client stood: in the stream of one replica, or of several."""

    epoch: _Epoch = ""
    offset: _Offset = 0
    positions: Annotated[dict[_Epoch, _Offset], Field(max_length=MAX_ORIGINS)] = {}

    @model_validator(mode="after")
    def _says_where(self) -> "_Resume":
        if not self.positions and not {"epoch", "offset"} <= self.model_fields_set:
            raise ValueError("say where: epoch and offset, or positions")
        return self

    def where(self) -> dict[str, int]:
        """The newest offset of each origin."""
        return ({self.epoch: self.offset} if self.epoch else {}) | self.positions or {self.epoch: self.offset}


class _Subscribe(_Request):
    type: Literal["subscribe"]
    topic: TopicName
    filter: Filters = {}
    resume: _Resume | None = None


class _Unsubscribe(_Request):
    type: Literal["unsubscribe"]
    topic: TopicName


class _Ping(_Request):
    type: Literal["ping"]


class _Pong(_Request):
    type: Literal["pong"]


class _Auth(_Request):
    """A credential: the first message where the server asks for one; later, a newer one of the same subject."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=16_384, repr=False)] = ""


class Renewal(NamedTuple):
    """A newer credential, and the `id` of the message that brought it."""

    token: str
    tag: Tag


_Any = Annotated[_Subscribe | _Unsubscribe | _Ping | _Pong | _Auth, Field(discriminator="type")]
_REQUESTS: TypeAdapter[_Subscribe | _Unsubscribe | _Ping | _Pong | _Auth] = TypeAdapter(_Any)
_AUTH = TypeAdapter(_Auth)
_FILTER: TypeAdapter[dict[str, Values]] = TypeAdapter(Filters)


def token_of(text: str) -> str | None:
    """The token of a first message `{"type":"auth","token":...}`; None where it is anything else."""
    brought = renewal_of(text)
    return None if brought is None else brought.token


def renewal_of(text: str) -> Renewal | None:
    """What an auth message brings; None where it is anything else, which is found out at little cost."""
    if '"auth"' not in text:
        return None
    try:
        message = _AUTH.validate_json(text)
    except ValidationError:
        return None
    return Renewal(message.token, message.id)


class Session:
    """One client of one endpoint, talking to the hub; the base answers pings and nothing else.

    It is made once the client is admitted: `client.principal` says who it is. A constructor or `opened` that raises
    a FleetpulseError closes the connection. `warns`: the client wants to hear that its credential is about to
    expire.
    """

    warns = False

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client

    def opened(self) -> None:
        """The connection is open and admitted."""

    def closed(self) -> None:
        """The connection is over; whatever `opened` did is to be undone."""

    def ponged(self, payload: bytes) -> None:
        """A WebSocket pong came: of a ping of the hub's without payload, or a receipt (`Encoder.receipts`)."""

    def watch_expiry(self) -> None:
        """Has the client told, in time, that its credential expires."""
        self._client.on_expiring = self._expiring if self.warns else None

    def renewed(self, dropped: Sequence[str], tag: Tag) -> None:
        """The client has shown a newer credential, which does not allow the topics `dropped`."""
        self.watch_expiry()
        self._send({"type": "authenticated", "expires_at": self._expires_at()} | _tagged(tag))
        for topic in dropped:
            self._send({"type": "unsubscribed", "topic": topic})
            self._send(_error(ForbiddenError(f"the topic {topic!r} is not for this credential")))

    def received(self, text: str) -> None:
        """A text message came in."""
        try:
            request = _REQUESTS.validate_json(text)
        except ValidationError as error:
            invalid = _invalid(error)
            self._hub.refused(self._client, invalid["code"])
            self._send(invalid | _tag_of(text))
            return
        self._guarded(lambda: self._handle(request), request.id)

    def refused(self, error: FleetpulseError, tag: Tag = None) -> None:
        """Tells the client of an error that a message of its caused."""
        self._hub.refused(self._client, error.code)
        self._send(_error(error) | _tagged(tag))

    def _expiring(self) -> None:
        self._send({"type": "auth_expiring", "expires_at": self._expires_at()})

    def _expires_at(self) -> str | None:
        at = self._client.expires_at
        return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")

    def _handle(self, request: _Request) -> None:
        if isinstance(request, _Ping):
            self._send(self._pong() | _tagged(request.id))
        elif isinstance(request, _Subscribe | _Unsubscribe):
            raise InvalidInputError("this address has one fixed topic; /ws/live takes subscriptions")

    def _pong(self) -> dict[str, Any]:
        return {"type": "pong"}

    def _subscribe_fixed(self, topic: str, encoder: Encoder) -> None:
        self._guarded(lambda: self._subscribe_to(topic, encoder), None)

    def _subscribe_to(self, topic: str, encoder: Encoder, **more: Any) -> None:
        """Subscribes, if the client may. Raises as `Hub.check` and `Hub.subscribe`."""
        self._hub.check(self._client.principal, topic)
        self._hub.subscribe(self._client, topic, encoder, **more)

    def _guarded(self, action: Callable[[], None], tag: Tag) -> None:
        try:
            action()
        except FleetpulseError as error:
            self.refused(error, tag)

    def _send(self, message: dict[str, Any]) -> None:
        self._client.write(self._client.wire.frame(orjson.dumps(message)))


class PoolSession(Session):
    """One agent pool's metrics, as its document has it."""

    def __init__(self, hub: Hub, client: Client, encoder: Encoder, pool_id: str) -> None:
        super().__init__(hub, client)
        self._encoder = encoder
        self._pool_id = pool_id

    def opened(self) -> None:
        """Sends `initial_metrics`; updates follow."""
        self._subscribe_fixed(f"agents/{self._pool_id}", self._encoder)


class LiveSession(Session):
    """Many topics on one connection; `topics` are subscribed to at once, as the address asked."""

    warns = True

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
            topic = canonical(request.topic)
            self._hub.unsubscribe(self._client, topic)
            self._send({"type": "unsubscribed", "topic": topic} | _tagged(request.id))
        else:
            super()._handle(request)

    def _subscribe(self, request: _Subscribe) -> None:
        self._subscribe_to(
            canonical(request.topic),
            self._encoder,
            where=Filter.of(request.filter),
            resume=None if request.resume is None else request.resume.where(),
            tag=request.id,
        )


def filter_of(text: str) -> Filter | None:
    """A filter from its JSON, as it stands in an address. Raises InvalidInputError."""
    try:
        return Filter.of(_FILTER.validate_json(text)) if text else None
    except ValidationError as error:
        raise InvalidInputError(
            "the filter must be a JSON object of fields, each with a value or values"
        ) from error


def canonical(topic: str) -> str:
    """`agents/*` and `agents/` are `agents`: the topic of the whole family."""
    return topic.removesuffix("*").removesuffix("/") if topic.endswith(("/*", "/")) else topic


def type_of(text: str) -> object:
    """The `type` of a message; None where it has none, or is none."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return message.get("type") if isinstance(message, dict) else None


def broken(error: ValidationError, within: int = 0) -> InvalidInputError:
    """What is wrong with a message, in words; places are told without their first `within` parts."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_TOLD]
    told = (f"{'.'.join(str(part)[:100] for part in each['loc'][within:])}: {each['msg'][:200]}" for each in found)
    return InvalidInputError(f"the message breaks the protocol: {'; '.join(told)}")


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
