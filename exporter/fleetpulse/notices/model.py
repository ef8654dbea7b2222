"""A notification as it is asked for, and as people get it.

Source of the message on the wire: the document of the live service, `notification`.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from fleetpulse.auth import Role
from fleetpulse.journal import rfc3339
from fleetpulse.journal.notices import NoticeRow
from fleetpulse.signals import NO_NUL, PRINTABLE, Identifier, Metadata

MAX_RECIPIENTS = 1_000
MAX_DEDUP_SECONDS = 31 * 86_400
PLAIN_KIND = "message"
DIGEST_KIND = "digest"


class Level(StrEnum):
    """How much it matters, the least first."""

    INFO = "INFO"
    SUCCESS = "SUCCESS"
    WARNING = "WARNING"
    ERROR = "ERROR"
    URGENT = "URGENT"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return list(Level).index(self)

    @property
    def severity(self) -> str:
        """What alerts call it."""
        return {Level.WARNING: "warning", Level.ERROR: "critical", Level.URGENT: "critical"}.get(self, "info")


class Channel(StrEnum):
    """How it reaches people: over the live connections, or through Alertmanager."""

    WEBSOCKET = "WEBSOCKET"
    EMAIL = "EMAIL"
    SMS = "SMS"
    PUSH = "PUSH"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _either_case(names: type[StrEnum]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": [*map(str, names), *(each.lower() for each in names)]})


LevelName = Annotated[Level, BeforeValidator(_upper), _either_case(Level)]
ChannelName = Annotated[Channel, BeforeValidator(_upper), _either_case(Channel)]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)]
Message = Annotated[str, StringConstraints(max_length=4_000, pattern=NO_NUL)]
# A place on the page that shows it, or a web address: nothing that runs.
ActionUrl = Annotated[
    str, StringConstraints(max_length=2_000, pattern=r"^(/([^/\\\x00-\x20][^\x00-\x20]*)?|https?://[^\x00-\x20]+)$")
]
Many = Field(max_length=MAX_RECIPIENTS)


class Recipients(BaseModel):
    """Whom it is for: users, users with a role, who is in a chat session; or everyone, and nobody besides."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    users: Annotated[tuple[Identifier, ...], Many] = Field((), description="Ids; they may be away.")
    roles: Annotated[tuple[Role, ...], Field(max_length=len(Role))] = Field(
        (), description="Users with these roles: who is connected, and `notifications.members`."
    )
    sessions: Annotated[tuple[Identifier, ...], Many] = Field((), description="Who is in these chat sessions.")
    everyone: bool = Field(default=False, alias="all", description="All users.")

    @model_validator(mode="after")
    def _someone(self) -> "Recipients":
        named = bool(self.users or self.roles or self.sessions)
        if named == self.everyone:
            raise ValueError("give users, roles or sessions, or all alone")
        return self


class NotificationRequest(BaseModel):
    """A notification to be sent. What is not given is decided by level and settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Title = Field(description="One line.")
    message: Message = Field(description="What it says.")
    recipients: Recipients
    level: LevelName = Field(Level.INFO, description="INFO, SUCCESS, WARNING, ERROR, URGENT.")
    channels: Annotated[tuple[ChannelName, ...], Field(min_length=1, max_length=4)] | None = Field(
        None, description="WEBSOCKET, EMAIL, SMS, PUSH. Default: by level, see the settings."
    )
    kind: Kind = Field(PLAIN_KIND, description="What it is about, for preferences and routes.")
    subject: Annotated[str, StringConstraints(max_length=200, pattern=PRINTABLE)] = Field(
        "", description="Which one it is about: a device, an account, a budget."
    )
    action_url: ActionUrl | None = Field(None, description="Where to go: a path, or an http or https address.")
    auto_close: bool | None = Field(
        None, description="Whether it vanishes by itself. Default: only INFO and SUCCESS do."
    )
    dedup_key: Identifier | None = Field(
        None,
        description="What is the same. Default: kind, subject and level; without a subject, its title and message.",
    )
    dedup_seconds: Annotated[int, Field(ge=0, le=MAX_DEDUP_SECONDS)] | None = Field(
        None, description="A recipient is told the same once within this time. Default: as configured."
    )
    expires_at: AwareDatetime | None = Field(None, description="What was not delivered by then is not any more.")
    metadata: Metadata = Field(default={}, description="Kept with it, and not sent.")

    @property
    def key(self) -> str:
        """What it is known by as the same."""
        if self.dedup_key is not None:
            return f"given:{self.dedup_key}"
        about = [self.kind, self.subject, self.level]
        about += [] if self.subject else [self.title, self.message]
        return "made:" + hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def row(self, notification_id: str, now: float, actor: str) -> NoticeRow:
        """The notification as it is stored at `now` (Unix seconds)."""
        fades = self.level.rank <= Level.SUCCESS.rank if self.auto_close is None else self.auto_close
        shown = {"title": self.title, "message": self.message, "action_url": self.action_url, "auto_close": fades}
        document = json.dumps(shown | {"metadata": self.metadata}, ensure_ascii=False)
        return NoticeRow(notification_id, now, self.level, self.kind, self.subject, actor[:200], document)


def wire(notice: NoticeRow, *, quiet: bool = False) -> dict[str, Any]:
    """The message to a live connection, with the document's names; `quiet` only where it is to make no sound."""
    shown: Mapping[str, Any] = json.loads(notice.document)
    body = {
        "id": notice.notification_id,
        "title": shown["title"],
        "message": shown["message"],
        "type": notice.level.lower(),
        "action_url": shown["action_url"],
        "auto_close": shown["auto_close"],
        "timestamp": rfc3339(notice.created_at),
    }
    return {"type": "notification", "notification": body | ({"quiet": True} if quiet else {})}
