"""What chat clients may say: the document's messages, with the other names that clients of its kind use.

A message is a JSON object with a `type`; its fields may also lie in `data` or `payload`. What does not fit raises
InvalidInputError or MalformedError, never anything else.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from fleetpulse.errors import InvalidInputError, MalformedError
from fleetpulse.signals import MAX_INT, Identifier, Label, Metadata, Text, Timestamp

MAX_ERRORS = 10
MAX_TAG = 200
TYPES = {  # other names of the types
    "join": "join_session",
    "subscribe": "join_session",
    "leave": "leave_session",
    "unsubscribe": "leave_session",
    "message": "send_message",
    "chat_message": "send_message",
    "new_message": "send_message",
    "typing_start": "typing",
    "typing_stop": "typing",
    "read": "message_status",
    "mark_read": "message_status",
    "message_read": "message_status",
    "message_status_update": "message_status",
    "ai_status": "ai_processing_status",
    "heartbeat": "ping",
    "authenticate": "auth",
    "ack": "received",
}
IMPLIED: dict[str, dict[str, Any]] = {"typing_start": {"is_typing": True}, "typing_stop": {"is_typing": False}}
WRAPPERS = ("data", "payload", "message")
Tag = Annotated[str, Field(max_length=MAX_TAG)] | Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)] | None


def _text(value: Any) -> Any:
    """Ids may be numbers, as in JSON they often are."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[Identifier, BeforeValidator(_text)]
Offset = Annotated[int, Field(ge=0, le=2**63 - 1)]
Epoch = Annotated[str, Field(min_length=1, max_length=64)]


def _called(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Request(BaseModel):
    """Base; `id`, where given, comes back in the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    type: str
    id: Tag = None


class Resume(BaseModel):
    """Where the client stood in a session: of one origin, or of each."""

    epoch: Epoch | None = None
    offset: Offset = 0
    positions: Annotated[dict[Epoch, Offset], Field(max_length=100)] = {}

    @property
    def place(self) -> dict[str, int]:
        """Offsets by epoch."""
        return dict(self.positions) | ({} if self.epoch is None else {self.epoch: self.offset})


class Join(Request):
    """Enter a session: its last messages first, or what was missed since `resume`."""

    type: Literal["join_session"]
    session_id: Id = Field(validation_alias=_called("session_id", "sessionId", "session", "room"))
    resume: Resume | None = None
    history: Annotated[int, Field(ge=0, le=500)] | None = None


class Leave(Request):
    """Leave a session."""

    type: Literal["leave_session"]
    session_id: Id = Field(validation_alias=_called("session_id", "sessionId", "session", "room"))


class Send(Request):
    """Write to a session, to a user, or to everyone."""

    type: Literal["send_message"]
    text: Text = Field(validation_alias=_called("text", "content", "message", "body"))
    session_id: Id | None = Field(None, validation_alias=_called("session_id", "sessionId", "session", "room"))
    user_id: Id | None = Field(
        None, validation_alias=_called("user_id", "userId", "to_user_id", "target_user_id", "recipient", "to")
    )
    target: Literal["session", "user", "broadcast", "all"] | None = Field(
        None, validation_alias=_called("target", "target_type")
    )
    kind: Label = Field("text", validation_alias=_called("kind", "message_type", "content_type"))
    client_message_id: Id | None = Field(
        None, validation_alias=_called("client_message_id", "clientMessageId", "client_id", "message_id", "temp_id")
    )
    timestamp: Timestamp | None = None
    metadata: Metadata | None = None

    @property
    def to_everyone(self) -> bool:
        """Whether it is to all users."""
        return self.target in ("broadcast", "all")

    @model_validator(mode="after")
    def _one_way(self) -> "Send":
        ways = [self.session_id is not None, self.user_id is not None, self.to_everyone]
        if sum(ways) > 1:
            raise ValueError("goes to one of session_id, user_id, or target: broadcast")
        if self.user_id == "*":
            raise ValueError("user_id * is nobody: target: broadcast is everyone")
        if not self.text and not self.metadata:
            raise ValueError("says nothing: text or metadata must be there")
        return self


class Typing(Request):
    """The user types, or no more."""

    type: Literal["typing"]
    session_id: Id | None = Field(None, validation_alias=_called("session_id", "sessionId", "session", "room"))
    is_typing: bool = Field(True, validation_alias=_called("is_typing", "isTyping", "typing"))


class Status(Request):
    """The user has read a message, and those before it in its session."""

    type: Literal["message_status"]
    message_id: Id = Field(validation_alias=_called("message_id", "messageId", "up_to", "upTo"))
    status: Literal["delivered", "read"] = "read"


class AiStatus(Request):
    """What an AI does in a session; bots say it."""

    type: Literal["ai_processing_status"]
    session_id: Id | None = Field(None, validation_alias=_called("session_id", "sessionId", "session", "room"))
    status: Literal["queued", "thinking", "processing", "streaming", "done", "completed", "failed"]
    progress: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    message: Annotated[Text, Field(max_length=1_000)] | None = Field(
        None, validation_alias=_called("message", "detail", "text")
    )
    message_id: Id | None = None
    metadata: Metadata | None = None


class Received(Request):
    """The client has what was addressed to the user up to this offset; for clients that keep their position."""

    type: Literal["received"]
    offset: Offset
    epoch: Epoch | None = None


class Ping(Request):
    """Are you there?"""

    type: Literal["ping"]


class Pong(Request):
    """I am here."""

    type: Literal["pong"]


class Auth(Request):
    """A credential: as first message where none came before, later a newer one of the same user."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=16_384, repr=False)] = Field(
        validation_alias=_called("token", "access_token")
    )


Any_ = Join | Leave | Send | Typing | Status | AiStatus | Received | Ping | Pong | Auth
_REQUESTS: TypeAdapter[Any_] = TypeAdapter(Annotated[Any_, Field(discriminator="type")])


def read(text: str) -> Any_:
    """The request in a text message. Raises InvalidInputError, MalformedError."""
    fields = _object(text)
    try:
        return _REQUESTS.validate_python(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
        named = [{"loc": [str(part)[:200] for part in item["loc"][1:]], "msg": item["msg"][:500]} for item in found]
        raise InvalidInputError("the message breaks the protocol", named) from error


def tag_of(text: str) -> dict[str, Any]:
    """The `id` of a message that failed, if it can be made out."""
    try:
        tag = _object(text).get("id")
    except InvalidInputError:
        return {}
    return {"id": tag} if isinstance(tag, str | int) and len(str(tag)) <= MAX_TAG else {}


def _object(text: str) -> dict[str, Any]:
    """The message's fields, flat, under the type's own name."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedError("the message is not JSON") from error
    if not isinstance(found, dict):
        raise InvalidInputError("the message is not a JSON object")
    fields: dict[str, Any] = found
    for wrapper in WRAPPERS:
        inner = fields.get(wrapper)
        if isinstance(inner, dict):
            fields = inner | {name: value for name, value in fields.items() if name != wrapper}
    called = fields.get("type")
    if isinstance(called, str):
        fields = IMPLIED.get(called, {}) | fields | {"type": TYPES.get(called, called)}
    return fields
