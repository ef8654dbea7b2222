"""What administrators do to the live service: broadcast, notify, disconnect, ping, close a session.

Every call answers per recipient, takes `dry_run`, and is in the audit log twice before it is answered: what was
asked for, before anything is done, and what came of it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from fleetpulse.administration import Audit, Case, Commands, Done
from fleetpulse.auth import Role
from fleetpulse.chat.routing import Delivery
from fleetpulse.chat.service import Chat
from fleetpulse.config import Limits
from fleetpulse.errors import FleetpulseError, NotFoundError
from fleetpulse.journal import rfc3339
from fleetpulse.live.connection import Connection
from fleetpulse.notices import Notices
from fleetpulse.notices import Outcome as NoticeOutcome
from fleetpulse.signals import Identifier
from fleetpulse.web.answers import json_answer
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import operation
from fleetpulse.web.websocket_admin import PREFIX, TAG
from fleetpulse.web.websocket_answers import Broadcast, Carried, Command, Disconnect, Notified, Notify, name_of

EVERYONE = "*"
LISTED = 10_000
HELLO = {"message": "Maintenance at 22:00 UTC", "dry_run": True}
TO_A_SESSION = {"message": {"type": "notice", "text": "Please wait"}, "target_type": "session", "target_id": "s1"}
WHOM = {"user_id": "ann", "reason": "left the company", "dry_run": True}
NOTICE = {
    "title": "Disk",
    "message": "The disk is almost full.",
    "level": "WARNING",
    "recipients": {"users": ["ann"]},
}
Work = Callable[[], Awaitable[Sequence[Done]]]


class CommandEndpoints:
    """Handlers that change something."""

    def __init__(self, chat: Chat, commands: Commands, audit: Audit, notices: Notices, limits: Limits) -> None:
        self._chat = chat
        self._presence = chat.presence
        self._commands = commands
        self._audit = audit
        self._notices = notices
        self._limits = limits
        self._plain = Decoder(Command, 1)
        self._broadcasts = Decoder(Broadcast, 1)
        self._disconnects = Decoder(Disconnect, 1)
        self._notifications = Decoder(Notify, 1)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.post(f"{PREFIX}/broadcast", self.broadcast),
            web.post(f"{PREFIX}/notify", self.notify),
            web.post(f"{PREFIX}/ping/{{user_id}}", self.ping),
            web.post(f"{PREFIX}/users/disconnect", self.disconnect_users),
            web.post(f"{PREFIX}/connections/{{connection_id}}/disconnect", self.disconnect_one),
            web.post(f"{PREFIX}/sessions/{{session_id}}/close", self.close_session),
        ]

    @requires(Role.OPERATOR)
    @operation(TAG, answer=Carried, body=Broadcast, examples={"To everyone": HELLO, "To a session": TO_A_SESSION})
    async def broadcast(self, request: web.Request) -> web.Response:
        """Sends a message to everyone who is connected, to a user, or to a session."""
        body = self._broadcasts.one(await read_body(request, self._limits))
        message = self._message(body, principal_of(request).subject)

        async def work() -> list[Done]:
            return [self._delivered(each) for each in await self._send(body, message)]

        return await self._carry_out(request, "broadcast", body.target_id or EVERYONE, body, work)

    @requires(Role.OPERATOR)
    @operation(TAG, answer=Notified, body=Notify, examples={"A warning": NOTICE})
    async def notify(self, request: web.Request) -> web.Response:
        """Sends a notification: over the live connections, by e-mail, SMS or push.

        Who is offline gets it when they return. What may be told to whom, and when: docs/notifications.md.
        """
        body = self._notifications.one(await read_body(request, self._limits))
        actor = principal_of(request).subject
        case = None if body.dry_run else await self._asked(request, "notify", _addressees(body), body)
        try:
            sent = await self._notices.send(body.request(), actor=actor, dry_run=body.dry_run)
        except FleetpulseError as error:
            await self._audit.failed(case, error)
            raise
        done = [Done(each.recipient, None, each.outcome, channel=each.channel) for each in sent.outcomes]
        summary = _summary(done) if case is None else await self._audit.done(case, done)
        return json_answer(
            {
                "action": "notify",
                "dry_run": body.dry_run,
                "call_id": case and case.call_id,
                "notification_id": sent.notification_id,
                "summary": summary,
                "recipients": [_told(each) for each in sent.outcomes],
            }
        )

    @requires(Role.OPERATOR)
    @operation(TAG, answer=Carried, body=Command, path={"user_id": Identifier}, examples={"Nothing special": {}})
    async def ping(self, request: web.Request) -> web.Response:
        """Pings each connection of a user, and measures how long the answer takes.

        A WebSocket ping, which every client answers by itself. One that does not within 5 seconds is `silent`.
        """
        user_id = name_of(request.match_info["user_id"], "user_id")
        body = await self._command(request)

        async def work() -> list[Done]:
            found = self._presence.of_user(user_id)
            return await self._commands.ping(found, dry_run=body.dry_run) or [Done(user_id, None, "offline")]

        return await self._carry_out(request, "ping", user_id, body, work)

    @requires(Role.ADMIN)
    @operation(TAG, answer=Carried, body=Disconnect, examples={"One user": WHOM})
    async def disconnect_users(self, request: web.Request) -> web.Response:
        """Closes all connections of one or more users, on every replica.

        Their clients are told so by the close code 4410. They may connect again: to keep someone out, revoke the
        credential.
        """
        body = self._disconnects.one(await read_body(request, self._limits))

        async def work() -> list[Done]:
            found = [each for user_id in body.users for each in self._presence.of_user(user_id)]
            gone = set(body.users) - {each.user_id for each in found}
            done = await self._commands.disconnect(found, dry_run=body.dry_run)
            return [*done, *(Done(user_id, None, "offline") for user_id in body.users if user_id in gone)]

        target = body.users[0] if len(body.users) == 1 else f"{len(body.users)} users"
        return await self._carry_out(request, "disconnect_users", target, body, work)

    @requires(Role.ADMIN)
    @operation(
        TAG,
        answer=Carried,
        body=Command,
        path={"connection_id": Identifier},
        problems=(404,),
        examples={"Nothing special": {}},
    )
    async def disconnect_one(self, request: web.Request) -> web.Response:
        """Closes one connection, on whichever replica it is."""
        connection_id = name_of(request.match_info["connection_id"], "connection_id")
        body = await self._command(request)
        found = self._presence.get(connection_id)
        if found is None:
            raise NotFoundError("there is no such connection, or no more")

        async def work() -> list[Done]:
            return await self._commands.disconnect([found], dry_run=body.dry_run)

        return await self._carry_out(request, "disconnect", connection_id, body, work)

    @requires(Role.ADMIN)
    @operation(
        TAG,
        answer=Carried,
        body=Command,
        path={"session_id": Identifier},
        problems=(404,),
        examples={"Nothing special": {}},
    )
    async def close_session(self, request: web.Request) -> web.Response:
        """Has everyone leave a chat session.

        Connections of that session alone are closed (4410); others get `session_left` and stay open. Its messages
        stay, and it may be joined again.
        """
        session_id = name_of(request.match_info["session_id"], "session_id")
        body = await self._command(request)
        if not self._presence.of_session(session_id):
            raise NotFoundError("nobody has joined this session")

        async def work() -> list[Done]:
            return await self._commands.close_session(session_id, body.reason, dry_run=body.dry_run)

        return await self._carry_out(request, "close_session", session_id, body, work)

    # What they share -----------------------------------------------------------------------------------------
    async def _command(self, request: web.Request) -> Command:
        """The body, which may be left out."""
        body = await read_body(request, self._limits)
        return self._plain.one(body) if body.strip() else Command()

    async def _carry_out(
        self, request: web.Request, action: str, target: str, body: Command, work: Work
    ) -> web.Response:
        case = None if body.dry_run else await self._asked(request, action, target, body)
        try:
            done = await work()
        except FleetpulseError as error:
            await self._audit.failed(case, error)
            raise
        summary = _summary(done) if case is None else await self._audit.done(case, done)
        return json_answer(
            {
                "action": action,
                "dry_run": body.dry_run,
                "call_id": case and case.call_id,
                "summary": summary,
                "recipients": [each.as_json() for each in done[:LISTED]],
                "omitted": max(0, len(done) - LISTED),
            }
        )

    async def _asked(self, request: web.Request, action: str, target: str, body: BaseModel) -> Case:
        return await self._audit.asked(
            action,
            target,
            actor=principal_of(request).subject,
            body=body.model_dump(mode="json", exclude_defaults=True),
            address=request.remote or "",
        )

    def _message(self, body: Broadcast, actor: str) -> dict[str, Any]:
        now = {"timestamp": rfc3339(self._chat.clock())}
        if isinstance(body.message, str):
            return {"type": "broadcast", "message": body.message, "sender": actor, **now}
        return {"type": "broadcast", **now, **body.message}

    async def _send(self, body: Broadcast, message: dict[str, Any]) -> list[Delivery]:
        router, store, dry_run = self._chat.router, body.store, body.dry_run
        if body.target_id is None:
            return await router.to_all(message, store=store, dry_run=dry_run)
        if body.target_type == "session":
            return await router.to_session(body.target_id, message, store=store, dry_run=dry_run)
        return await router.to_user(body.target_id, message, store=store, dry_run=dry_run)

    def _delivered(self, delivery: Delivery) -> Done:
        found: Connection | None = None
        if delivery.connection_id is not None:
            found = self._presence.get(delivery.connection_id)
        replica = None if found is None else found.replica
        return Done(delivery.recipient, delivery.connection_id, str(delivery.outcome), replica)


def _summary(done: Sequence[Done]) -> dict[str, int]:
    return dict(Counter(str(each.outcome) for each in done))


def _addressees(body: Notify) -> str:
    """Whom a notification is for, as the audit log names its target."""
    named = (*body.recipients.users, *body.recipients.roles, *body.recipients.sessions)
    return EVERYONE if body.recipients.everyone else ", ".join(map(str, named))


def _told(outcome: NoticeOutcome) -> dict[str, Any]:
    shown = {**outcome._asdict(), "connection_id": None}
    if outcome.retry_at is not None:
        shown["retry_at"] = datetime.fromtimestamp(outcome.retry_at, UTC)
    return shown
