"""Routing: a server message to everyone, to a user, to a session; and what became of it, per recipient.

With `store`, what is sent is on disk before it goes out: to a user in the mailbox, which keeps it while they are
away, to a session or to everyone as a message of the history. Without, it goes to who is there now, and a
connection that reads too slowly does without it (`over_limit`).
"""

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from fleetpulse.chat.mailbox import Mailbox
from fleetpulse.chat.writing import EVERYONE, Writing
from fleetpulse.errors import LimitedError
from fleetpulse.live import Hub
from fleetpulse.live.bus import Bus
from fleetpulse.live.connection import Connection
from fleetpulse.live.presence import Presence
from fleetpulse.signals import ChatMessage

PUSH = "chat.push"
STEP = 200  # connections written to before others get their turn
MAX_TEXT = 8_192


class Outcome(StrEnum):
    """What became of a message for one recipient.

    - `delivered`: handed to the connection's socket.
    - `queued`: it waits behind others, or goes through another replica.
    - `conflated`: the connection gets the newest state only.
    - `over_limit`: not sent, as the connection reads too slowly or the mailbox is full.
    - `stored`: kept for the user's return.
    - `offline`: nobody is there, and nothing was kept.
    """

    DELIVERED = "delivered"
    QUEUED = "queued"
    CONFLATED = "conflated"
    OVER_LIMIT = "over_limit"
    STORED = "stored"
    OFFLINE = "offline"


class Delivery(NamedTuple):
    """One recipient's: the user, their connection where there is one, and what became of it."""

    recipient: str
    connection_id: str | None
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        """As the API shows it."""
        return self._asdict()


class Router:
    """Sends server messages. With `dry_run`, says what would become of them and sends nothing."""

    def __init__(self, hub: Hub, presence: Presence, mailbox: Mailbox, writing: Writing, bus: Bus) -> None:
        self._hub = hub
        self._presence = presence
        self._mailbox = mailbox
        self._writing = writing
        self._bus = bus
        bus.on(PUSH, self._pushed)

    async def to_all(
        self, message: Mapping[str, Any], *, sender: str = "system", store: bool = False, dry_run: bool = False
    ) -> list[Delivery]:
        """To every open connection. With `store` it is a message of the history, too, sent as `new_message`."""
        everyone = self._presence.connections()
        if store and not dry_run:
            await self._writing.store(_as_chat(message, sender, recipient=EVERYONE))
            self._hub.flush()
        return await self._deliver(message, everyone, {"all": True}, sent=store or dry_run)

    async def to_session(
        self,
        session_id: str,
        message: Mapping[str, Any],
        *,
        sender: str = "system",
        store: bool = False,
        dry_run: bool = False,
    ) -> list[Delivery]:
        """To every connection that has joined a session. With `store` it is a message of its history, too."""
        members = self._presence.of_session(session_id)
        if store and not dry_run:
            await self._writing.store(_as_chat(message, sender, session_id=session_id))
            self._hub.flush()
        return await self._deliver(message, members, {"session": session_id}, sent=store or dry_run)

    async def to_user(  # noqa: PLR0913 - what is sent, and how
        self,
        user_id: str,
        message: Mapping[str, Any],
        *,
        kind: str = "message",
        delivery_id: str | None = None,
        store: bool = True,
        dry_run: bool = False,
    ) -> list[Delivery]:
        """To every open connection of a user; with `store`, to the first one that opens where there is none.

        `delivery_id` makes a repetition known: what waits already is not kept twice.
        """
        there = self._presence.of_user(user_id)
        if store:
            kept = not self._mailbox.full(user_id)
            if not dry_run:
                kept = await self._post(user_id, message, kind, delivery_id or secrets.token_hex(12))
                self._hub.flush()
            if not kept:
                return [Delivery(user_id, None, Outcome.OVER_LIMIT)]
        if not there:
            return [Delivery(user_id, None, Outcome.STORED if store else Outcome.OFFLINE)]
        return await self._deliver(message, there, {"user": user_id}, sent=store or dry_run)

    def push(self, user_id: str, message: Mapping[str, Any]) -> None:
        """To who is there of a user, on any replica, without waiting for anything; it may be lost."""
        data = orjson.dumps(message)
        for connection in self._presence.of_user(user_id):
            self._write(connection, data)
        self._bus.send(PUSH, {"to": {"user": user_id}, "message": dict(message)})

    async def _post(self, user_id: str, message: Mapping[str, Any], kind: str, delivery_id: str) -> bool:
        try:
            await self._mailbox.post(user_id, kind, message, delivery_id)
        except LimitedError:
            return False
        return True

    async def _deliver(
        self, message: Mapping[str, Any], connections: Iterable[Connection], to: Mapping[str, Any], *, sent: bool
    ) -> list[Delivery]:
        """What became, or would become, of it for each; writes it first where it was not `sent` through the hub."""
        if not sent:
            self._bus.send(PUSH, {"to": dict(to), "message": dict(message)})
        data = orjson.dumps(message)
        made: list[Delivery] = []
        for connection in connections:
            outcome = outcome_of(connection, self._hub) if sent else self._write(connection, data)
            made.append(Delivery(connection.user_id, connection.connection_id, outcome))
            if len(made) % STEP == 0:
                await asyncio.sleep(0)
        return made

    def _write(self, connection: Connection, data: bytes) -> Outcome:
        client = connection.client
        outcome = outcome_of(connection, self._hub)
        if client is None or outcome is Outcome.OFFLINE:
            return outcome
        if client.backlog > client.high:
            return Outcome.OVER_LIMIT
        client.write(client.wire.frame(data))
        self._presence.counts.sent += 1
        return Outcome.QUEUED if client.backlog else Outcome.DELIVERED

    def _pushed(self, payload: Mapping[str, Any]) -> None:
        """Another replica sends something to who is here."""
        to, data = payload["to"], orjson.dumps(payload["message"])
        if "user" in to:
            reached = self._presence.of_user(str(to["user"]))
        elif "session" in to:
            reached = self._presence.of_session(str(to["session"]))
        else:
            reached = self._presence.local()
        for connection in reached:
            self._write(connection, data)


def outcome_of(connection: Connection, hub: Hub) -> Outcome:
    """Where something that was just sent through the hub is now, for one connection."""
    client = connection.client
    if client is None:
        return Outcome.QUEUED
    if client.closed or client not in hub.clients:
        return Outcome.OFFLINE
    return Outcome.QUEUED if client.stalled or client.backlog else Outcome.DELIVERED


def _as_chat(
    message: Mapping[str, Any], sender: str, *, session_id: str | None = None, recipient: str | None = None
) -> ChatMessage:
    """A server message as one of the history: its words as text, the whole as metadata."""
    words = next((message[name] for name in ("text", "content", "message", "title") if message.get(name)), "")
    return ChatMessage(
        message_id=f"s_{secrets.token_hex(12)}",
        user_id=sender,
        text=words[:MAX_TEXT] if isinstance(words, str) else "",
        kind=str(message.get("kind") or message.get("type") or "system")[:64],
        session_id=session_id,
        recipient=recipient,
        metadata={"payload": dict(message)},
    )
