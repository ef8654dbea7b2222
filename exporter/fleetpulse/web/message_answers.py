"""What the endpoints of stored messages answer."""

from datetime import datetime
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class LoggedMessage(TypedDict):
    """A stored message; what it does not have is left out.

    `timestamp` is when it was sent, as its sender says; else when it was received. `session_id` is the room. Of
    recorded messages: `opcode` (1 text, 2 binary), `size` (bytes), `connection`, `clock` (seconds since that
    opened), and the names of the `rules` they matched.
    """

    message_id: str
    received_at: datetime
    timestamp: datetime
    stream: str
    kind: str
    user_id: str
    text: str
    session_id: NotRequired[str]
    recipient: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    opcode: NotRequired[int]
    size: NotRequired[int]
    clock: NotRequired[float]
    connection: NotRequired[str]
    rules: NotRequired[list[str]]


class LoggedMessages(TypedDict):
    """Messages, the newest first. `next_cursor` is null on the last page.

    A page may have fewer than were asked for, even none, and a next one: the time for one call was over.
    """

    messages: list[LoggedMessage]
    next_cursor: str | None


class WholeMessage(LoggedMessage):
    """A stored message with what came, where it was kept: `raw`, or `raw_base64` where it was binary."""

    raw: NotRequired[str]
    raw_base64: NotRequired[str]


class Highlight(TypedDict):
    """Where a term was found: in which field, its characters (Unicode code points) from `start` up to `end`."""

    field: Literal["text", "user_id", "session_id"]
    start: int
    end: int


class FoundMessage(LoggedMessage):
    """A message that was found. `snippet` is HTML: a piece of the text, escaped, what was found within `<mark>`."""

    highlights: list[Highlight]
    snippet: str


class FoundMessages(TypedDict):
    """What was found, the newest first. `next_cursor` is null on the last page."""

    messages: list[FoundMessage]
    next_cursor: str | None


class DayMessages(TypedDict):
    """Messages of one local day."""

    date: str
    messages: int


class HourMessages(TypedDict):
    """Messages of one hour of the local day, over all the days."""

    hour: int
    messages: int


class UserMessages(TypedDict):
    """Messages of one user today."""

    stream: str
    user_id: str
    messages: int


class StreamMessages(TypedDict):
    """Messages of one stream, ever."""

    stream: str
    messages: int


class KindMessages(TypedDict):
    """Messages of one stream and kind, ever; past the cap of series, both are `other`."""

    stream: str
    kind: str
    messages: int


class Stats(TypedDict):
    """How many messages, when and by whom. They are counted when received; retention takes none of them away.

    Users are those of today; `users_complete` is false where there were too many to count.
    """

    total_messages: int
    messages_today: int
    active_users: int
    users_complete: bool
    timezone: str
    daily: list[DayMessages]
    hourly: list[HourMessages]
    top_users: list[UserMessages]
    streams: list[StreamMessages]
    kinds: list[KindMessages]
