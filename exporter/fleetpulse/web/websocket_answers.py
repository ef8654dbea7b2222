"""What the administration of the live service answers, and the models of what it is asked."""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from typing_extensions import TypedDict

from fleetpulse.errors import InvalidInputError
from fleetpulse.notices import NotificationRequest
from fleetpulse.signals import Identifier, Metadata
from fleetpulse.web.answers import MAX_PAGE, Paged, digits
from fleetpulse.web.operations import Query
from fleetpulse.web.problems import validation_errors

MAX_USERS = 1_000
DRY_RUN = "Say what would happen, and do nothing. It is not audited. `true` or `false`, and nothing like them."
ID_CURSOR = "`next_cursor` of the page before, as it is; without it, the newest."
MOMENT = "RFC 3339 with an offset, or a date, which is its midnight in the configured zone."
NAME: TypeAdapter[str] = TypeAdapter(Identifier)
Exactly = Annotated[str, Field(max_length=200)] | None
CommandOutcome = Literal[
    "delivered",
    "queued",
    "conflated",
    "over_limit",
    "stored",
    "offline",
    "disconnected",
    "left",
    "answered",
    "silent",
    "pending",
]


def name_of(text: str, what: str) -> str:
    """A name from the path, as it is stored. Raises InvalidInputError."""
    try:
        return NAME.validate_python(text)
    except ValidationError as error:
        raise InvalidInputError(f"the {what} breaks the contract", validation_errors(error)) from error


# What is asked ------------------------------------------------------------------------------------------------
class ConnectionsQuery(Paged):
    """Which connections; all that is given must hold."""

    user_id: Exactly = Field(None, description="Of this user.")
    session_id: Exactly = Field(None, description="That have joined this session.")
    endpoint: Literal["chat", "session", "monitor"] | None = Field(None, description="Of this endpoint.")
    replica: Exactly = Field(None, description="Of this replica.")
    is_alive: bool | None = Field(None, description="Whether it is open, or about to be closed.")


class TopicsQuery(Paged):
    """Which topics."""

    family: Exactly = Field(None, description="Of this family: `chat`, `agents`.")


class AuditQuery(Query):
    """Which calls; all that is given must hold."""

    action: Exactly = Field(None, description="Exactly this action: `broadcast`.")
    actor: Exactly = Field(None, description="Exactly this caller.")
    target: Exactly = Field(None, description="Exactly this user, session or connection; `*` is everyone.")
    phase: Literal["done", "asked", "all"] = Field(
        "done", description="Calls with their outcome; or what was asked for, before it was done; or both."
    )
    start: Exactly = Field(None, description=f"Since then: {MOMENT}")
    end: Exactly = Field(None, description=f"Before then: {MOMENT}")
    limit: Annotated[int, BeforeValidator(digits)] = Field(50, ge=1, le=MAX_PAGE, description="Most in a page.")
    cursor: Annotated[str, Field(pattern="^[0-9a-f]{0,15}$")] = Field("", description=ID_CURSOR)


class Command(BaseModel):
    """What every call that changes something takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dry_run: StrictBool = Field(default=False, description=DRY_RUN)
    reason: Annotated[str, Field(max_length=500)] = Field("", description="Why, for the audit log.")


class Broadcast(Command):
    """A message to everyone, a user or a session.

    `message` is sent as it is, with `type` (default `broadcast`) and `timestamp`; a text becomes its `message`.
    With `store` it is kept: for a user until they return, for a session or everyone as a message of the history.
    """

    message: Annotated[str, Field(min_length=1, max_length=8_192, pattern=r"^[^\x00]*$")] | Metadata
    target_type: Literal["broadcast", "user", "session"] = "broadcast"
    target_id: Identifier | None = None
    store: StrictBool = False

    @model_validator(mode="after")
    def _someone(self) -> "Broadcast":
        if (self.target_type == "broadcast") != (self.target_id is None):
            raise ValueError("give target_id with target_type user or session, and only then")
        return self


class Disconnect(Command):
    """Whose connections to close: `user_id`, or `user_ids`."""

    user_id: Identifier | None = None
    user_ids: Annotated[tuple[Identifier, ...], Field(max_length=MAX_USERS)] = ()

    @model_validator(mode="after")
    def _someone(self) -> "Disconnect":
        if (self.user_id is None) == (not self.user_ids):
            raise ValueError("give either user_id or user_ids")
        return self

    @property
    def users(self) -> tuple[str, ...]:
        """The users, each once."""
        return tuple(dict.fromkeys(self.user_ids or (self.user_id or "",)))


class Notify(NotificationRequest):
    """A notification; see docs/notifications.md."""

    dry_run: StrictBool = Field(default=False, description=DRY_RUN)

    def request(self) -> NotificationRequest:
        """The notification alone."""
        return NotificationRequest.model_validate(self.model_dump(exclude={"dry_run"}, by_alias=True))


# What is answered ---------------------------------------------------------------------------------------------
class Stats(TypedDict):
    """The statistics of the chat service.

    `total_connections`, `messages_sent`, `messages_received`, `disconnections` and `errors` are counted on this
    replica since `counted_since`, when it started: messages to and from the chat addresses, whatever way they went;
    `errors` are those that clients were told of. The others are as of now, over all replicas.
    """

    total_connections: int
    active_connections: int
    messages_sent: int
    messages_received: int
    disconnections: int
    errors: int
    active_users: int
    active_sessions: int
    total_user_connections: int
    total_session_connections: int
    counted_since: datetime
    replica: str
    live_connections: int
    mailbox_messages: int


class ConnectionShown(TypedDict):
    """An open connection. `sessions` are those it has joined; `buffered_bytes` only where it is this replica's."""

    connection_id: str
    user_id: str
    session_id: str | None
    connected_at: datetime
    last_ping: datetime
    last_pong: datetime
    is_alive: bool
    metadata: dict[str, Any]
    endpoint: str
    sessions: list[str]
    replica: str
    buffered_bytes: NotRequired[int]


class Connections(TypedDict):
    """Connections by id; `total` are all that match."""

    connections: list[ConnectionShown]
    total: int
    next_cursor: str | None


class UserConnections(TypedDict):
    """A user's connections, the oldest first; `waiting` messages are kept for their return."""

    user_id: str
    online: bool
    total: int
    waiting: int
    connections: list[ConnectionShown]


class Health(TypedDict):
    """Whether the live service is well; `degraded` says why in `problems`."""

    status: Literal["healthy", "degraded"]
    problems: list[str]
    timestamp: datetime
    uptime_seconds: float
    replica: str
    other_replicas: list[str]
    active_connections: int
    dead_connections: int
    live_connections: int
    buffered_bytes: int
    journal_writable: bool


class OnlineUser(TypedDict):
    """A user with open connections, since the oldest of them."""

    user_id: str
    connections: int
    sessions: list[str]
    online_since: datetime
    replicas: list[str]


class OnlineUsers(TypedDict):
    """Users by id."""

    users: list[OnlineUser]
    total: int
    next_cursor: str | None


class SessionShown(TypedDict):
    """A session that someone has joined."""

    session_id: str
    connections: int
    users: list[str]
    replicas: list[str]


class Sessions(TypedDict):
    """Sessions by id."""

    sessions: list[SessionShown]
    total: int
    next_cursor: str | None


class TopicShown(TypedDict):
    """A topic of the live feed, as this replica has it.

    `positions` are the newest offsets by epoch, `epoch` and `offset` this replica's own. `kept_messages` are in
    memory; a `journalled` topic has older ones on disk. `buffered_bytes` wait in the sockets of its subscribers:
    what waits for a client counts for its topics in proportion to what each sent of late. Rates are of the last
    minute.
    """

    topic: str
    family: str
    policy: Literal["state", "event"]
    journalled: bool
    epoch: str
    offset: int
    positions: dict[str, int]
    kept_messages: int
    subscriptions: int
    buffered_bytes: int
    published_last_minute: int
    published_per_second: float


class TopicsShown(TypedDict):
    """Topics by name."""

    topics: list[TopicShown]
    total: int
    next_cursor: str | None


class AuditEntry(TypedDict):
    """A call: `done` with its outcomes, or `asked` for; both have one `call_id`. `target` `*` is everyone.

    Entries of other parts of the API have no `call_id`, and as `body` what they say of themselves.
    """

    id: int
    at: datetime
    phase: Literal["done", "asked"]
    call_id: str
    actor: str
    address: str
    action: str
    target: str
    body: dict[str, Any]
    outcomes: NotRequired[dict[str, int]]
    recipients: NotRequired[int]
    error: NotRequired[str]


class AuditPage(TypedDict):
    """Calls, the newest first. `next_cursor` is null on the last page."""

    entries: list[AuditEntry]
    next_cursor: str | None


class Recipient(TypedDict):
    """What became of a call for one connection, or for a user who has none.

    - `delivered`: handed to the connection's socket; `queued`: it waits behind others, or goes through another
      replica; `conflated`: the connection gets the newest state only; `over_limit`: not sent, as it reads too
      slowly or the mailbox is full; `stored`: kept for the user's return; `offline`: not there, and nothing was
      kept.
    - `disconnected`: closed; `left`: it left the session and stays open.
    - `answered` with `round_trip_ms`, or `silent`: of a ping.
    - `pending`: its replica did not answer in time; it may have been done.
    """

    recipient: str
    connection_id: str | None
    outcome: CommandOutcome
    replica: NotRequired[str]
    round_trip_ms: NotRequired[float]


class Carried(TypedDict):
    """What a call did, or would do (`dry_run`); `summary` are the recipients by outcome.

    `omitted` recipients are not listed, past the first 10,000. `call_id` is that of the audit log.
    """

    action: str
    dry_run: bool
    call_id: str | None
    summary: dict[str, int]
    recipients: list[Recipient]
    omitted: int


class Told(TypedDict):
    """What became of a notification for one recipient over one channel; see docs/notifications.md.

    `audience` is what `recipient` names: `user`, `session` or `all`. With `retry_at` it is to be made then.
    """

    recipient: str
    connection_id: None
    audience: str
    channel: str
    outcome: str
    detail: str
    retry_at: datetime | None


class Notified(TypedDict):
    """What became of a notification, or would (`dry_run`)."""

    action: str
    dry_run: bool
    call_id: str | None
    notification_id: str
    summary: dict[str, int]
    recipients: list[Told]
