"""The administration of the live service: who is connected, to what, and what was done to them.

Reads only; what changes something is in `web/websocket_commands.py`. What is said of connections, users and
sessions covers all replicas, as far as they were heard of; statistics and topics are this replica's.
"""

import asyncio
import heapq
import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from aiohttp import web

from fleetpulse.administration import TopicRates
from fleetpulse.administration.audit import ASKED, DONE
from fleetpulse.auth import Role
from fleetpulse.chat.service import Chat
from fleetpulse.journal import EventRow, Journal, Numbered, rfc3339
from fleetpulse.live import Hub
from fleetpulse.live.backlog import shares
from fleetpulse.live.bus import Bus
from fleetpulse.live.connection import Connection
from fleetpulse.live.topics import Topic
from fleetpulse.query.events import EventFilter, EventLog
from fleetpulse.query.windows import moment
from fleetpulse.signals import Identifier
from fleetpulse.web.answers import Paged, json_answer
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import operation, read_query
from fleetpulse.web.websocket_answers import (
    AuditEntry,
    AuditPage,
    AuditQuery,
    Connections,
    ConnectionShown,
    ConnectionsQuery,
    Health,
    OnlineUser,
    OnlineUsers,
    Sessions,
    SessionShown,
    Stats,
    TopicShown,
    TopicsQuery,
    TopicsShown,
    UserConnections,
    name_of,
)

PREFIX = "/api/v1/websocket"
TAG = "Administration"
STEP = 2_000  # connections looked at before others get their turn
PHASES = {"done": (DONE,), "asked": (ASKED,), "all": (ASKED, DONE)}
T = TypeVar("T")


class AdminEndpoints:
    """Handlers that read; `rates` and `log` are their sources besides the chat service."""

    def __init__(  # noqa: PLR0913 - the parts it asks
        self,
        chat: Chat,
        hub: Hub,
        journal: Journal,
        bus: Bus,
        rates: TopicRates,
        log: EventLog,
        zone: ZoneInfo,
        joined: Callable[[], bool],
        others: Callable[[], list[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`joined` says whether the other replicas can be reached; true where there are none.

        `others` are the names of those that are there.
        """
        self._chat = chat
        self._presence = chat.presence
        self._hub = hub
        self._journal = journal
        self._bus = bus
        self._rates = rates
        self._log = log
        self._zone = zone
        self._joined = joined
        self._others = others
        self._clock = clock
        self._began = clock()

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get(f"{PREFIX}/stats", self.stats),
            web.get(f"{PREFIX}/health", self.health),
            web.get(f"{PREFIX}/connections", self.connections),
            web.get(f"{PREFIX}/users/{{user_id}}/connections", self.user_connections),
            web.get(f"{PREFIX}/online-users", self.online_users),
            web.get(f"{PREFIX}/sessions", self.sessions),
            web.get(f"{PREFIX}/topics", self.topics),
            web.get(f"{PREFIX}/audit", self.audit),
        ]

    @requires(Role.VIEWER)
    @operation(TAG, answer=Stats)
    async def stats(self, _request: web.Request) -> web.Response:
        """Statistics of the chat service: counted since the start, and as of now."""
        return json_answer(
            {
                **self._presence.totals(),
                "counted_since": rfc3339(self._began),
                "replica": self._bus.replica,
                "live_connections": len(self._hub.clients),
                "mailbox_messages": self._chat.mailbox.total,
            }
        )

    @requires(Role.VIEWER)
    @operation(TAG, answer=Health)
    async def health(self, _request: web.Request) -> web.Response:
        """Whether the live service is well.

        The answer is 200 in either case: `status` says it. What is to restart the exporter asks `/-/healthy`.
        """
        here = self._presence.local()
        dead = sum(not each.is_alive for each in here)
        writable = self._journal.writable
        problems = [] if writable else ["the journal cannot be written: what is to be stored is refused"]
        problems += [] if self._joined() else ["Redis is away: other replicas are not heard of"]
        return json_answer(
            {
                "status": "degraded" if problems else "healthy",
                "problems": problems,
                "timestamp": rfc3339(self._clock()),
                "uptime_seconds": round(self._clock() - self._began, 3),
                "replica": self._bus.replica,
                "other_replicas": self._others(),
                "active_connections": len(here),
                "dead_connections": dead,
                "live_connections": len(self._hub.clients),
                "buffered_bytes": sum(client.backlog for client in self._hub.clients),
                "journal_writable": writable,
            }
        )

    @requires(Role.OPERATOR)
    @operation(TAG, answer=Connections, query=ConnectionsQuery)
    async def connections(self, request: web.Request) -> web.Response:
        """Open connections of the chat service, by id."""
        query = read_query(request, ConnectionsQuery)
        wanted = [each for each in self._candidates(query) if _matches(each, query)]
        shown, cursor = _page(wanted, query, lambda each: each.connection_id)
        return json_answer(
            {"connections": [_shown(each) for each in shown], "total": len(wanted), "next_cursor": cursor}
        )

    @requires(Role.OPERATOR)
    @operation(TAG, answer=UserConnections, path={"user_id": Identifier})
    async def user_connections(self, request: web.Request) -> web.Response:
        """One user's open connections; none where they are offline, or nobody knows them."""
        user_id = name_of(request.match_info["user_id"], "user_id")
        found = self._presence.of_user(user_id)
        return json_answer(
            {
                "user_id": user_id,
                "online": bool(found),
                "total": len(found),
                "waiting": self._chat.mailbox.waiting(user_id),
                "connections": [_shown(each) for each in found],
            }
        )

    @requires(Role.OPERATOR)
    @operation(TAG, answer=OnlineUsers, query=Paged)
    async def online_users(self, request: web.Request) -> web.Response:
        """Users with an open connection, by id."""
        users = self._presence.users()
        shown, cursor = _page(users, read_query(request, Paged), str)
        items = [_user(user_id, found) for user_id in shown if (found := self._presence.of_user(user_id))]
        return json_answer({"users": items, "total": len(users), "next_cursor": cursor})

    @requires(Role.OPERATOR)
    @operation(TAG, answer=Sessions, query=Paged)
    async def sessions(self, request: web.Request) -> web.Response:
        """Chat sessions that someone has joined, by id."""
        sessions = self._presence.sessions()
        shown, cursor = _page(sessions, read_query(request, Paged), str)
        items = [_session(session_id, self._presence.of_session(session_id)) for session_id in shown]
        return json_answer({"sessions": items, "total": len(sessions), "next_cursor": cursor})

    @requires(Role.OPERATOR)
    @operation(TAG, answer=TopicsShown, query=TopicsQuery)
    async def topics(self, request: web.Request) -> web.Response:
        """Topics of the live feed in use, by name: their rates, positions and subscribers."""
        query = read_query(request, TopicsQuery)
        topics = [each for each in self._hub.topics if query.family in (None, each.family.name)]
        shown, cursor = _page(topics, query, lambda topic: topic.name)
        buffered = await self._buffered({topic.name for topic in shown})
        published = self._rates.published()
        items = [_topic(topic, buffered.get(topic.name, 0), published.get(topic.name, (0, 0.0))) for topic in shown]
        return json_answer({"topics": items, "total": len(topics), "next_cursor": cursor})

    @requires(Role.ADMIN)
    @operation(TAG, answer=AuditPage, query=AuditQuery)
    async def audit(self, request: web.Request) -> web.Response:
        """What was done through this API, and by whom, the newest first."""
        query = read_query(request, AuditQuery)
        now = datetime.fromtimestamp(self._clock(), self._zone)
        wanted = EventFilter(
            PHASES[query.phase],
            kind=query.action,
            actor=query.actor,
            subject=query.target,
            start=None if query.start is None else moment("start", query.start, now).timestamp(),
            end=None if query.end is None else moment("end", query.end, now).timestamp(),
        )
        page = await self._log.page(wanted, query.limit, int(query.cursor, 16) if query.cursor else None)
        cursor = None if page.next_id is None else f"{page.next_id:x}"
        return json_answer({"entries": [_entry(each) for each in page.events], "next_cursor": cursor})

    def _candidates(self, query: ConnectionsQuery) -> Sequence[Connection]:
        """By the index that says most."""
        if query.user_id is not None:
            return self._presence.of_user(query.user_id)
        if query.session_id is not None:
            return self._presence.of_session(query.session_id)
        return self._presence.connections()

    async def _buffered(self, names: set[str]) -> dict[str, int]:
        """Bytes that wait in the sockets of each topic's subscribers, shared out over their topics."""
        found = dict.fromkeys(names, 0.0)
        for number, client in enumerate(list(self._hub.clients), 1):
            waiting = shares(client) if client.backlog else {}
            for name in waiting.keys() & names:
                found[name] += waiting[name]
            if number % STEP == 0:
                await asyncio.sleep(0)
        return {name: round(size) for name, size in found.items()}


def _matches(connection: Connection, query: ConnectionsQuery) -> bool:
    return (
        query.session_id in (None, *connection.sessions)
        and query.endpoint in (None, connection.endpoint)
        and query.replica in (None, connection.replica)
        and query.is_alive in (None, connection.is_alive)
    )


def _page(items: Iterable[T], query: Paged, key: Callable[[T], str]) -> tuple[list[T], str | None]:
    """One page by `key`, without putting all of them in order; and the cursor of the next."""
    rest = (item for item in items if not query.cursor or key(item) > query.cursor)
    shown = heapq.nsmallest(query.limit + 1, rest, key=key)
    more = len(shown) > query.limit
    return shown[: query.limit], key(shown[query.limit - 1]) if more else None


def _shown(connection: Connection) -> ConnectionShown:
    shown: Any = connection.as_json()
    if connection.client is not None:
        shown["buffered_bytes"] = connection.client.backlog
    return shown  # type: ignore[no-any-return]  # what as_json says it is


def _user(user_id: str, found: Sequence[Connection]) -> OnlineUser:
    return {
        "user_id": user_id,
        "connections": len(found),
        "sessions": sorted(set().union(*(each.sessions for each in found))),
        "online_since": datetime.fromtimestamp(min(each.connected_at for each in found), UTC),
        "replicas": sorted({each.replica for each in found}),
    }


def _session(session_id: str, found: Sequence[Connection]) -> SessionShown:
    return {
        "session_id": session_id,
        "connections": len(found),
        "users": sorted({each.user_id for each in found}),
        "replicas": sorted({each.replica for each in found}),
    }


def _topic(topic: Topic, buffered: int, published: tuple[int, float]) -> TopicShown:
    return {
        "topic": topic.name,
        "family": topic.family.name,
        "policy": topic.family.policy.value,
        "journalled": topic.family.history is not None,
        "epoch": topic.epoch,
        "offset": topic.offset,
        "positions": topic.tops,
        "kept_messages": len(topic.messages),
        "subscriptions": sum(audience.size for audience in topic.audiences.values()),
        "buffered_bytes": buffered,
        "published_last_minute": published[0],
        "published_per_second": round(published[1], 3),
    }


def _entry(event: Numbered) -> AuditEntry:
    row = event.row
    assert isinstance(row, EventRow)  # noqa: S101 - what the log holds
    detail = json.loads(row.detail)
    entry: AuditEntry = {
        "id": event.number,
        "at": datetime.fromtimestamp(row.received_at, UTC),
        "phase": "done" if row.category == DONE else "asked",
        "call_id": str(detail.get("call_id", "")),
        "actor": row.actor,
        "address": str(detail.get("address", "")),
        "action": row.kind,
        "target": row.subject,
        "body": detail.get("body", {}) if "call_id" in detail else detail,
    }
    for name in ("outcomes", "recipients", "error") if "call_id" in detail else ():
        if name in detail:
            entry[name] = detail[name]
    return entry
