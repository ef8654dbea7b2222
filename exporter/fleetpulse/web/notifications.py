"""Notifications over HTTP: sending them, what became of them, and what users want to be told."""

import asyncio
import re
from collections import Counter
from datetime import datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Limits
from fleetpulse.errors import ForbiddenError, InvalidInputError
from fleetpulse.events import Events
from fleetpulse.journal import Journal, rfc3339
from fleetpulse.notices import Notices, NotificationRequest, Outcome, Preferences
from fleetpulse.notices.model import Kind, LevelName
from fleetpulse.query.notices import View, sent
from fleetpulse.signals import Identifier, Metadata
from fleetpulse.web.answers import Paged, json_answer
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import operation, read_query
from fleetpulse.web.problems import validation_errors

PREFIX = "/api/v1/notifications"
TAG = "Notifications"
CURSOR = re.compile(r"(|[0-9]{1,18})")
USER_ID = TypeAdapter(Identifier)
Word = Literal[
    "pending",
    "delivered",
    "queued",
    "conflated",
    "stored",
    "over_limit",
    "offline",
    "sent",
    "held",
    "failed",
    "given_up",
    "expired",
    "suppressed",
    "duplicate",
    "digested",
]
LevelWord = Literal["INFO", "SUCCESS", "WARNING", "ERROR", "URGENT"]
ChannelWord = Literal["WEBSOCKET", "EMAIL", "SMS", "PUSH"]


def _cursor(value: str) -> str:
    if not CURSOR.fullmatch(value):
        raise ValueError("is no cursor that a page gave")
    return value


class NewNotification(NotificationRequest):
    """A notification to be sent. With `dry_run`, nothing is sent, and the answer says what would become of it."""

    dry_run: bool = False


class OutcomeShown(TypedDict):
    """What became of it for one recipient over one channel.

    `recipient` is the id of a user or a session, as `audience` says, and empty for all. With `retry_at` it is made,
    or tried again, then. `detail` says why; of a duplicate it is the id of the first one.
    """

    audience: Literal["user", "session", "all"]
    recipient: str
    channel: ChannelWord
    outcome: Word
    detail: str
    retry_at: datetime | None


class NotificationSent(TypedDict):
    """A notification and its outcomes, and how many there are of each; `id` of the first one where it is known."""

    id: str
    dry_run: bool
    outcomes: list[OutcomeShown]
    summary: dict[str, int]


class OutcomeKept(OutcomeShown):
    """As it is now; a user who proved to have it has it `delivered`."""

    changed_at: datetime
    attempts: int


class NotificationKept(TypedDict):
    """A notification; `repeats` were no news to anyone. The first 100 outcomes are shown, and all summed up."""

    id: str
    timestamp: datetime
    level: LevelWord
    kind: str
    subject: str
    actor: str
    title: str
    message: str
    action_url: str | None
    auto_close: bool
    metadata: Metadata
    repeats: int
    outcomes: list[OutcomeKept]
    summary: dict[str, int]


class NotificationList(TypedDict):
    """Notifications, the newest first."""

    notifications: list[NotificationKept]
    next_cursor: str | None


class NotificationQuery(Paged):
    """Which notifications."""

    cursor: Annotated[str, AfterValidator(_cursor)] = Field(
        "", description="`next_cursor` of the page before; without it, the first page."
    )
    user_id: Identifier | None = Field(None, description="Those of one user. Default: all that you may see.")
    level: LevelName | None = Field(None, description="Only of this level.")
    kind: Kind | None = Field(None, description="Only of this kind.")


class PreferencesShown(TypedDict):
    """A user's preferences."""

    user_id: str
    preferences: Preferences


EXAMPLE = {
    "title": "Maintenance tonight",
    "message": "The service is away from 22:00 to 22:10 UTC.",
    "level": "WARNING",
    "recipients": {"users": ["user_67890"]},
}


class NotificationEndpoints:
    """CONTRACT D: notifications."""

    def __init__(self, notices: Notices, journal: Journal, events: Events, limits: Limits) -> None:
        self._notices = notices
        self._journal = journal
        self._events = events
        self._limits = limits
        self._new = Decoder(NewNotification, 1)
        self._preferences = Decoder(Preferences, 1)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get(PREFIX, self.listed),
            web.post(PREFIX, self.send),
            web.get(f"{PREFIX}/preferences/{{user_id}}", self.preferences),
            web.put(f"{PREFIX}/preferences/{{user_id}}", self.set_preferences),
        ]

    @requires(Role.OPERATOR)
    @operation(TAG, answer=NotificationSent, body=NewNotification, examples={"To one user": EXAMPLE})
    async def send(self, request: web.Request) -> web.Response:
        """Sends a notification to users, roles, sessions or all, over any channels.

        The answer comes when it is delivered, or on disk to be delivered: to users who are away when they return,
        by e-mail, SMS and push as soon as Alertmanager takes it. 503 where too much waits; nothing was kept then.
        """
        body = self._new.one(await read_body(request, self._limits))
        actor = principal_of(request).subject
        wanted = NotificationRequest.model_validate(body.model_dump(exclude={"dry_run"}))
        made = await self._notices.send(wanted, actor=actor, dry_run=body.dry_run)
        summary = dict(Counter(each.outcome for each in made.outcomes))
        if not body.dry_run:
            detail = {"level": wanted.level, "kind": wanted.kind, "title": wanted.title, "outcomes": summary}
            await self._events.record(
                "audit", "notification_sent", actor=actor, subject=made.notification_id, detail=detail
            )
        outcomes = [outcome_json(each) for each in made.outcomes]
        return json_answer(
            {"id": made.notification_id, "dry_run": body.dry_run, "outcomes": outcomes, "summary": summary}
        )

    @requires(Role.VIEWER)
    @operation(TAG, answer=NotificationList, query=NotificationQuery)
    async def listed(self, request: web.Request) -> web.Response:
        """Sent notifications with what became of each, the newest first.

        Users see what was for them: by name, to all, to sessions they may enter. Operators see everything, or with
        `user_id` what one user sees.
        """
        query = read_query(request, NotificationQuery)
        view = _view(principal_of(request), query.user_id)
        before = int(query.cursor) if query.cursor else None
        found = await asyncio.to_thread(sent, self._journal, view, query.limit, before, query.level, query.kind)
        cursor = None if found.after is None else str(found.after)
        return json_answer({"notifications": found.shown, "next_cursor": cursor})

    @requires(Role.VIEWER)
    @operation(TAG, answer=PreferencesShown, path={"user_id": Identifier})
    async def preferences(self, request: web.Request) -> web.Response:
        """What a user wants to be told; for the user, and for administrators."""
        user_id = _own(request)
        return _shown(user_id, self._notices.book.of(user_id))

    @requires(Role.VIEWER)
    @operation(
        TAG,
        answer=PreferencesShown,
        path={"user_id": Identifier},
        body=Preferences,
        examples={"Quiet nights": {"email": "ERROR", "quiet_hours": [{"start": "22:00", "end": "08:00"}]}},
    )
    async def set_preferences(self, request: web.Request) -> web.Response:
        """Replaces what a user wants to be told; for the user, and for administrators.

        What is not given is as by default.
        """
        user_id = _own(request)
        wanted = self._preferences.one(await read_body(request, self._limits))
        actor = principal_of(request).subject
        await self._notices.book.put(user_id, wanted, actor)
        await self._events.record("audit", "notification_preferences", actor=actor, subject=user_id)
        return _shown(user_id, wanted)


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """An outcome as the API shows it."""
    due = outcome.retry_at
    return outcome._asdict() | {"retry_at": None if due is None else rfc3339(due)}


def _shown(user_id: str, preferences: Preferences) -> web.Response:
    return json_answer({"user_id": user_id, "preferences": preferences.model_dump(mode="json")})


def _own(request: web.Request) -> str:
    """The user of the path, who must be the caller, or the caller an administrator."""
    try:
        user_id = USER_ID.validate_python(request.match_info["user_id"])
    except ValidationError as error:
        raise InvalidInputError("the user_id breaks the contract", validation_errors(error)) from error
    principal = principal_of(request)
    if principal.subject != user_id and not principal.may(Role.ADMIN):
        raise ForbiddenError("these are another user's preferences")
    return user_id


def _view(principal: Principal, user_id: str | None) -> View:
    if principal.may(Role.OPERATOR):
        return View(user_id)
    if user_id not in (None, principal.subject):
        raise ForbiddenError("these are another user's notifications")
    sessions = principal.sessions
    return View(principal.subject, None if sessions is None else sorted(sessions))
