"""The frozen models of what programs report. Bounds here are the whole validation of ingest.

Units: seconds, USD, tokens; percentages 0-100 in heartbeats as their document has them. Unknown fields are
ignored, so a newer client may talk to an older server. All times are UTC.
"""

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

MAX_INT = 2**53 - 1  # the largest integer that JSON clients, SQLite and Prometheus's floats all keep exact
MAX_SECONDS = 1_000_000.0
MAX_USD = 1_000_000.0
MAX_COUNT = 1_000_000
MAX_METADATA_BYTES = 16_384
MAX_LABELS = 64
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400

# Patterns run inside pydantic's core: a Python validator per string would halve ingest.
# It travels in URLs, labels and logs: no control characters, no line breaks. In words that every dialect has.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
NO_NUL = r"^[^\x00]*$"


def _utc(value: datetime) -> datetime:
    """Reads a time without a zone as UTC; refuses what cannot be a report of the past."""
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if value < EPOCH:
        raise ValueError("lies before 1970")
    if value.timestamp() > time.time() + DAY_SECONDS:
        raise ValueError("lies more than a day in the future")
    # Only now: at the calendar's ends there is no such moment in UTC.
    return value if value.tzinfo is UTC else value.astimezone(UTC)


def _bounded_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses what is too long, and what readers of JSON could not read back."""
    try:
        short = orjson.dumps(value)
    except TypeError as error:  # an integer past 64 bits
        raise ValueError(f"cannot be kept: {error}") from error
    # Python's own JSON takes ten times as long, and at most twice the characters. A null here may have been a NaN.
    if 2 * len(short) <= MAX_METADATA_BYTES and b"null" not in short:
        return value
    if len(json.dumps(value, ensure_ascii=False, allow_nan=False)) > MAX_METADATA_BYTES:
        raise ValueError(f"is longer than {MAX_METADATA_BYTES} characters of JSON")
    return value


def _few_labels(value: Any) -> Any:
    """Judged first: the errors of a million bad labels would take gigabytes."""
    if isinstance(value, dict) and len(value) > MAX_LABELS:
        raise ValueError(f"has more than {MAX_LABELS} labels")
    return value


Identifier = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)
]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=PRINTABLE)]
Status = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=64, pattern=PRINTABLE),
]
UserId = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=PRINTABLE)]
Text = Annotated[str, StringConstraints(max_length=8_192, pattern=NO_NUL)]
Timestamp = Annotated[
    datetime,
    AfterValidator(_utc),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "format": "date-time",
            "description": "RFC 3339, UTC where it names no zone; or Unix time in seconds. From 1970 to tomorrow.",
        }
    ),
]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, le=MAX_USD, allow_inf_nan=False)]
LabelSet = Annotated[
    dict[Label, Text], BeforeValidator(_few_labels), Field(json_schema_extra={"maxProperties": MAX_LABELS})
]
Metadata = Annotated[dict[str, Any], AfterValidator(_bounded_metadata)]


class Signal(BaseModel):
    """Base of every reported thing: immutable, tolerant of unknown fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class RunningTask(Signal):
    """One task an agent works on; `task_id` may be a number (as documented) or a string."""

    task_id: Annotated[int, Field(ge=0, le=MAX_INT)] | Identifier
    """A number or text."""
    task_type: Label = "task"
    workspace_id: Identifier | None = None
    started_at: Timestamp | None = None


class Heartbeat(Signal):
    """An agent says: I am alive, this busy (percent 0-100), running these tasks."""

    status: Status
    """`idle`, `busy`, …; `offline` says goodbye: no alert for a silent agent follows."""
    cpu_usage: Percent
    """Percent."""
    memory_usage: Percent
    """Percent."""
    running_tasks: Annotated[tuple[RunningTask, ...], Field(max_length=1_000)] = ()
    agent_name: Label | None = None
    """For people; default: the agent's id."""
    pool_id: Label | None = None
    """Default: the pool of the app key, else `default`."""


class AgentHeartbeat(Heartbeat):
    """A heartbeat that names its agent, as in a batch."""

    agent_id: Label


class RequestLog(Signal):
    """One AI/API call: who asked, which model, how long, how many tokens, what it cost, how it ended.

    `input_tokens` include `cached_tokens`, as in OpenTelemetry's GenAI conventions. `cost` in USD; None means
    "not reported".
    """

    request_id: Identifier
    """Unique; sent twice, it is stored once."""
    source: Label
    """Which bot or service."""
    status: Status
    """`success`, `error` or another word; all but `success` count as failed."""
    execution_time: Seconds
    """Seconds."""
    user_id: UserId = ""
    command: Text = ""
    """What was asked."""
    tokens_used: Count | None = None
    """All tokens; default: the sum of the parts."""
    cost: Usd | None = None
    """USD, as the reporter knows it; default: computed from model and tokens."""
    timestamp: Timestamp | None = None
    """When it happened; default: when it was received."""
    model: Label | None = None
    provider: Label | None = None
    """`openai`, `anthropic`, …: tells apart models of one name."""
    input_tokens: Count | None = None
    """Cached ones included."""
    output_tokens: Count | None = None
    cached_tokens: Count | None = None
    """Those of the input that were read from the provider's cache."""
    error: Text | None = None
    """Why it failed."""
    session_id: Identifier | None = None
    trace_id: Identifier | None = None
    """Shown as exemplar, and leads to the trace."""
    metadata: Metadata | None = None
    """Anything else, up to 16,384 characters as JSON."""
    account_id: Identifier | None = None
    """The account it was made for."""

    @model_validator(mode="after")
    def _cached_is_part_of_input(self) -> "RequestLog":
        if self.cached_tokens and self.cached_tokens > (self.input_tokens or 0):
            raise ValueError("cached_tokens exceed input_tokens, which must include them")
        return self

    @property
    def total_tokens(self) -> int:
        """The call's tokens: the reported total, or the sum of the parts where that is more."""
        return max(self.tokens_used or 0, (self.input_tokens or 0) + (self.output_tokens or 0))


class Activity(Signal):
    """Something that a group account did, or that it tells of itself.

    `message`, `reply`, `redpacket` and `error` are counted; any other kind, such as `status`, is kept and changes
    the account's state only.
    """

    kind: Status
    """`message`, `reply`, `redpacket`, `error`, `status`, or another word."""
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    """How many of the kind it stands for."""
    reply_time: Seconds | None = None
    """Of a reply: seconds it took; of several, their mean."""
    online: bool | None = None
    """Whether the account is online now; whoever sends messages is, unless it says otherwise."""
    activity_id: Identifier | None = None
    """Unique; sent twice, it is stored once. Without one, sent twice is stored twice."""
    timestamp: Timestamp | None = None
    """When it happened; default: when it was received."""
    account_name: Label | None = None
    """For people; kept until another is told."""
    text: Text | None = None
    metadata: Metadata | None = None
    """Anything else, up to 16,384 characters as JSON."""

    @model_validator(mode="after")
    def _only_replies_take_time(self) -> "Activity":
        if self.reply_time is not None and self.kind != "reply":
            raise ValueError("reply_time belongs to an activity of kind reply")
        return self


class AccountActivity(Activity):
    """An activity that names its account, as in a batch of several accounts."""

    account_id: Label


class ChatMessage(Signal):
    """One message of a chat: by whom (`user_id`), in which session, or to whom (`recipient`)."""

    message_id: Identifier
    """Unique; sent twice, it is stored once."""
    user_id: Identifier
    text: Text
    kind: Label = "text"
    """`text`, `image`, `system`, … as the programs agree."""
    stream: Label = "chat"
    session_id: Identifier | None = None
    recipient: Identifier | None = None
    """The user it is to; `*` is everyone."""
    timestamp: Timestamp | None = None
    """When it was written; default: when it was received."""
    metadata: Metadata | None = None
    """Anything else, up to 16,384 characters as JSON."""


class AlertEvent(Signal):
    """One change of one alert, as Alertmanager tells it: it fires, or it is resolved."""

    fingerprint: Identifier
    alertname: Label
    status: Literal["firing", "resolved"]
    severity: Label = "none"
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None = None
    labels: LabelSet = {}
    annotations: LabelSet = {}
    generator_url: Text = ""
