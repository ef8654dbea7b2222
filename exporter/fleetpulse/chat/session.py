"""One chat connection's talk: what its client says, done; what is answered.

Promises: what is written is acknowledged (`sent`) after it is on disk. Messages are done in the order in which they
came.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fleetpulse.auth import Role
from fleetpulse.chat import messages, requests
from fleetpulse.chat.backlog import Backlog
from fleetpulse.chat.encoders import name_of, proven
from fleetpulse.chat.receipts import Proven
from fleetpulse.chat.service import Chat
from fleetpulse.chat.talk import TalkSession, tagged
from fleetpulse.chat.topics import BROADCASTS, CHAT, INBOX, SIGNS
from fleetpulse.chat.writing import EVERYONE, WRITTEN
from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    LimitedError,
    NotFoundError,
    OverloadedError,
)
from fleetpulse.journal import MAILBOX
from fleetpulse.live.client import Client
from fleetpulse.live.connection import Connection
from fleetpulse.live.sessions import Tag
from fleetpulse.signals import ChatMessage

MAX_WAITING = 64  # messages of one connection on their way to disk
log = logging.getLogger(__name__)


class ChatSession(TalkSession):
    """`/ws/chat`, and with `Connection.session_id` the endpoint of one session.

    `resume` is where the client stood in that session; `received` up to where it has its inbox.
    """

    def __init__(
        self,
        chat: Chat,
        client: Client,
        connection: Connection,
        *,
        resume: requests.Resume | None = None,
        received: requests.Resume | None = None,
    ) -> None:
        super().__init__(chat, client, connection)
        self._resume = resume
        self._known = received
        self._inbox = f"{INBOX}/{connection.user_id}"
        self._proofs = {name_of(self._inbox): self._inbox}
        self._begun: dict[str, Mapping[str, int]] = {}  # of each session, what came before this connection
        self._waiting: set[asyncio.Task[None]] = set()
        self._backlog: Backlog | None = None
        self._fetching: asyncio.Task[None] | None = None
        connection.expel = self._expelled

    def closed(self) -> None:
        """Sends no more of what waited."""
        if self._fetching is not None:
            self._fetching.cancel()

    def renewed(self, dropped: Sequence[str], tag: Tag) -> None:
        """A newer credential: the sessions that it does not allow are left."""
        super().renewed([], tag)
        for session_id in sorted({name.partition("/")[2] for name in dropped}):
            if session_id in self._connection.sessions:
                self._leave(session_id, None)

    def ponged(self, payload: bytes) -> None:
        """A receipt: the client has read up to there."""
        super().ponged(payload)
        proof = proven(payload)
        topic = self._proofs.get(proof.name) if proof else None
        if proof is None or topic is None:
            return
        if topic == self._inbox:
            self._has(proof.offset, told=self._known is None)
        else:
            session_id = topic.partition("/")[2]
            begun = self._begun[topic].get(proof.epoch, 0)
            upto = min(proof.offset, self._place(topic, proof.epoch))
            self._chat.receipts.proved(Proven(proof.epoch, session_id, self._user_id, begun, upto))

    def _has(self, offset: int, *, told: bool) -> None:
        """The client has its inbox up to an offset, but no further than it was sent.

        A pong proves that the client's library has it. Who keeps its place says itself when it is done with it.
        """
        backlog = self._backlog
        upto = min(offset, max(self._place(self._inbox), backlog.sent if backlog else 0))
        if told:
            self._chat.mailbox.received(self._user_id, upto)
        if backlog is not None:
            backlog.proved(upto)

    def _place(self, topic: str, epoch: str | None = None) -> int:
        """Up to where a topic was sent."""
        return self._hub.places(self._client).get(topic, {}).get(epoch or self._chat.journal.epoch, 0)

    # The beginning -------------------------------------------------------------------------------------------
    def _established(self) -> dict[str, Any]:
        inbox = {"epoch": self._chat.journal.epoch, "offset": self._inbox_position()}
        return super()._established() | {"inbox": inbox, "waiting": self._chat.mailbox.waiting(self._user_id)}

    def _begin(self) -> None:
        encoders, epoch = self._chat.encoders, self._chat.journal.epoch
        known = self._known
        if known is not None and known.epoch == epoch:
            self._chat.mailbox.received(self._user_id, known.offset)
        begin = self._inbox_position()
        self._backlog = Backlog(self._hub, self._chat.journal, self._client, self._inbox, encoders.inbox, begin)
        self._fetching = asyncio.get_running_loop().create_task(self._backlog.run())
        self._hub.subscribe(self._client, BROADCASTS, encoders.messages)
        if self._connection.session_id is not None:
            self._enter(self._connection.session_id, self._resume, None, None)

    @property
    def _user_id(self) -> str:
        return self._connection.user_id

    def _inbox_position(self) -> int:
        position = self._chat.mailbox.position(self._user_id)
        return self._chat.journal.newest_id(MAILBOX) if position is None else position

    # What is said --------------------------------------------------------------------------------------------
    def _do(self, request: requests.Request) -> None:
        if isinstance(request, requests.Join):
            self._enter(request.session_id, request.resume, request.history, request.id)
        elif isinstance(request, requests.Leave):
            self._leave(self._joined(request.session_id), request.id)
        elif isinstance(request, requests.Send):
            self._later(lambda: self._write(request), request.id)
        elif isinstance(request, requests.Typing):
            self._type(request)
        elif isinstance(request, requests.Status):
            self._read(request)
        elif isinstance(request, requests.AiStatus):
            self._tell_ai(request)
        elif isinstance(request, requests.Received):
            self._acknowledge(request)
        else:
            super()._do(request)

    def _enter(self, session_id: str, resume: requests.Resume | None, history: int | None, tag: Tag) -> None:
        own = self._connection.session_id
        if own not in (None, session_id):
            raise InvalidInputError("this address has one session; /ws/chat takes several")
        if session_id in self._connection.sessions:
            self._answer({"type": "session_joined", "session_id": session_id, "already": True}, tag)
            return
        if len(self._connection.sessions) >= self._chat.settings.chat.max_sessions:
            raise LimitedError(f"chat.max_sessions: {len(self._connection.sessions)} are joined already")
        topic = f"{CHAT}/{session_id}"
        self._hub.check(self._client.principal, topic)
        place = resume.place if resume is not None else self._last(session_id, history)
        told = {"resumed": resume is not None, "members": self._members(session_id)} | tagged(tag)
        self._listen(session_id, place, told)
        self._proofs[name_of(topic)] = topic
        self._begun[topic] = {} if resume is not None else place
        self._chat.has_joined(self._connection, session_id)
        if resume is not None:
            self._resumed(session_id, place)

    def _listen(self, session_id: str, place: Mapping[str, int], told: dict[str, Any]) -> None:
        """Subscribes to a session's messages and signs, or to neither. Raises OverloadedError."""
        topic, encoders = f"{CHAT}/{session_id}", self._chat.encoders
        self._hub.subscribe(self._client, topic, encoders.session, resume=place, tag=told)
        self._chat.presence.counts.sent += 1  # session_joined
        try:
            self._hub.subscribe(self._client, f"{SIGNS}/{session_id}", encoders.plain)
        except OverloadedError:
            self._hub.unsubscribe(self._client, topic)
            self._answer({"type": "session_left", "session_id": session_id}, None)
            raise

    def _resumed(self, session_id: str, place: Mapping[str, int]) -> None:
        """Who goes on from somewhere has what came before."""
        for epoch, offset in place.items():
            self._chat.receipts.proved(Proven(epoch, session_id, self._user_id, 0, offset))

    def _last(self, session_id: str, history: int | None) -> dict[str, int]:
        """The position after which the messages come that a newcomer is shown."""
        most = self._chat.settings.chat.history_messages
        count = most if history is None else min(history, most)
        return {self._chat.journal.epoch: self._chat.archive.before_last(session_id, count)}

    def _members(self, session_id: str) -> list[str]:
        there = {each.user_id for each in self._chat.presence.of_session(session_id)}
        return sorted(there | {self._user_id})

    def _expelled(self, session_id: str, reason: str) -> None:
        """An administrator has closed a session."""
        if session_id in self._connection.sessions:
            self._leave(session_id, None, closed=True, **({"reason": reason} if reason else {}))

    def _leave(self, session_id: str, tag: Tag, **more: Any) -> None:
        topic = f"{CHAT}/{session_id}"
        for name in (topic, f"{SIGNS}/{session_id}"):
            if name in self._client.subscriptions:
                self._hub.unsubscribe(self._client, name)
        self._proofs.pop(name_of(topic), None)
        self._begun.pop(topic, None)
        self._chat.has_left(self._connection, session_id)
        self._answer({"type": "session_left", "session_id": session_id} | more, tag)

    def _joined(self, session_id: str | None) -> str:
        """A session that is joined; without a name, the only one."""
        sessions = self._connection.sessions
        session_id = session_id or self._connection.session_id
        if session_id is None and len(sessions) == 1:
            session_id = next(iter(sessions))
        if session_id is None:
            raise InvalidInputError("session_id is missing")
        if session_id not in sessions:
            raise NotFoundError("this session is not joined: send join_session first")
        return session_id

    async def _write(self, request: requests.Send) -> None:
        """Stores a message and says that it is `sent`."""
        session_id, recipient = self._to(request)
        message = ChatMessage(
            message_id=self._message_id(request.client_message_id),
            user_id=self._user_id[:200],
            text=request.text,
            kind=request.kind,
            session_id=session_id,
            recipient=recipient,
            timestamp=request.timestamp,
            metadata=request.metadata,
        )
        written = await self._chat.writing.store(message)
        update = messages.status_update(message.message_id, "sent", self._chat.clock())
        update |= {"duplicate": True} if written.duplicate else {}
        update |= {} if session_id is None else {"session_id": session_id}
        update |= {} if recipient is None else {"recipient": recipient}
        if request.client_message_id is not None:
            update["client_message_id"] = request.client_message_id
        self._answer(update, request.id)
        if not written.duplicate:
            place = session_id or recipient or ""
            self._chat.happened("message_received", self._connection, place, message_id=message.message_id)

    def _to(self, request: requests.Send) -> tuple[str | None, str | None]:
        """The session or the recipient that a message is to. Raises where the user may not."""
        if request.to_everyone:
            if not self._principal.may(Role.OPERATOR):
                raise ForbiddenError("writing to everyone needs the role operator")
            return None, EVERYONE
        if request.user_id is not None:
            return None, request.user_id
        session_id = self._joined(request.session_id) if request.session_id is None else request.session_id
        self._hub.check(self._client.principal, f"{CHAT}/{session_id}")
        return session_id, None

    def _message_id(self, client_message_id: str | None) -> str:
        """The same one for the same user and client id, so that a message that is sent again is known."""
        if client_message_id is None:
            return f"{WRITTEN}{secrets.token_hex(12)}"
        known = f"{self._user_id}\0{client_message_id}".encode()
        return f"{WRITTEN}{hashlib.sha256(known).hexdigest()[:32]}"

    def _type(self, request: requests.Typing) -> None:
        session_id = self._joined(request.session_id)
        self._chat.signs.typing(session_id, self._user_id, is_typing=request.is_typing)
        self._chat.happened("typing_status_changed", self._connection, session_id, is_typing=request.is_typing)

    def _tell_ai(self, request: requests.AiStatus) -> None:
        if not self._principal.may(Role.REPORTER):
            raise ForbiddenError("saying what an AI does needs the role reporter or operator")
        more = {name: getattr(request, name) for name in ("progress", "message", "message_id", "metadata")}
        session_id = self._joined(request.session_id)
        self._chat.signs.ai(session_id, self._user_id, request.status, **more)
        if request.status == "failed":
            self._chat.happened("ai_processing_failed", self._connection, session_id, message=request.message)

    def _read(self, request: requests.Status) -> None:
        """Notes that a message was read; the session hears of it at once."""
        sessions = self._connection.sessions
        if not self._chat.receipts.note(request.message_id, request.status, self._user_id, sessions):
            raise NotFoundError("no such message in what is joined here")

    def _acknowledge(self, request: requests.Received) -> None:
        if request.epoch not in (None, self._chat.journal.epoch):
            raise InvalidInputError("this epoch is not of this server's inbox")
        self._has(request.offset, told=True)

    # What takes time -----------------------------------------------------------------------------------------
    def _later(self, work: Callable[[], Awaitable[None]], tag: Tag) -> None:
        """Begins work that waits for the disk; tasks begin in order, and so does what they store."""
        if len(self._waiting) >= MAX_WAITING:
            raise OverloadedError("too many messages of this connection wait to be stored; send it again")
        task = asyncio.get_running_loop().create_task(self._guard(work, tag))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _guard(self, work: Callable[[], Awaitable[None]], tag: Tag) -> None:
        try:
            await work()
        except FleetpulseError as error:
            self._fail(error, **tagged(tag))
        except Exception:
            log.exception("a chat message could not be stored")
            self._fail(OverloadedError("the message could not be stored; its log says why"), **tagged(tag))
