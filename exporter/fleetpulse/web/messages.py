"""Stored messages: pages with filters, search with highlights, single ones, statistics, and files of them.

They are recorded streams' and the own chat's; of the latter only those of the sessions that a caller may enter.
What was said there to one user or to all is for administrators.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import Field

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Source
from fleetpulse.journal import MessageRow
from fleetpulse.query.highlights import snippet, spans
from fleetpulse.query.logs import Logs
from fleetpulse.query.message_stats import Asked, MessageStats, message_stats, recorded_streams
from fleetpulse.query.messages import MessageFilter
from fleetpulse.query.payloads import with_payload
from fleetpulse.query.reader import Encode
from fleetpulse.query.text import TextQuery
from fleetpulse.web.answers import json_answer
from fleetpulse.web.downloads import Download, Downloads, attachment
from fleetpulse.web.exports import Csv, Encoder, JsonLines
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.har import Har
from fleetpulse.web.message_answers import FoundMessages, LoggedMessages, Stats, WholeMessage
from fleetpulse.web.operations import CSV, JSON, NDJSON, Answer, Query, operation, read_query
from fleetpulse.web.searching import (
    END,
    START,
    Cursor,
    Exactly,
    Limit,
    Moment,
    before,
    cursor,
    searched,
    seconds,
)

COLUMNS = {"stream": "stream", "type": "kind", "user": "user_id", "room": "session_id"}
TEXTS = (
    "Search: all of these words (each may be the beginning of one), Chinese and other characters wherever they "
    'follow each other, and "quoted phrases", in text, user, room and metadata.'
)
FIELDS: tuple[Literal["text", "user_id", "session_id"], ...] = ("text", "user_id", "session_id")


class MessagesQuery(Query):
    """Which messages; all that is given must hold, what is empty counts for nothing."""

    stream: Exactly = Field(None, description="Exactly this stream; `chat` is the exporter's own.")
    type: Exactly = Field(None, description="Exactly this kind of message.")
    user: Exactly = Field(None, description="Exactly this user.")
    room: Exactly = Field(None, description="Said in exactly this room, or session of the chat.")
    rule: Exactly = Field(None, description="Matched this rule.")
    q: Exactly = Field(None, description=TEXTS)
    start: Moment = Field(None, description=START)
    end: Moment = Field(None, description=END)

    def wanted(self, caller: Principal, now: datetime) -> MessageFilter:
        """The filter, of what the caller may see; `now` is in the configured zone. Raises InvalidInputError."""
        values = {column: getattr(self, name) for name, column in COLUMNS.items()}
        return MessageFilter(
            text=searched(self.q or ""),
            equal=tuple((column, value) for column, value in values.items() if value is not None),
            start=seconds("start", self.start, now),
            end=seconds("end", self.end, now),
            rule=self.rule,
            sessions=caller.sessions,
            private=caller.may(Role.ADMIN),
        )


class PageQuery(MessagesQuery):
    """Which messages, and which page of them."""

    limit: Limit = 50
    cursor: Cursor = ""


class SearchQuery(PageQuery):
    """What to search for, and among which messages."""

    q: Annotated[str, Field(min_length=1, max_length=200)] = Field(description=TEXTS)


class ExportQuery(MessagesQuery):
    """Which messages, and how they are written."""

    format: Literal["csv", "jsonl", "har"] = Field(
        "csv", description="CSV (RFC 4180), a JSON object a line, or an HTTP archive (HAR 1.2) as Chrome writes it."
    )
    bom: bool = Field(False, description="Begin the CSV with a byte order mark, by which Excel knows UTF-8.")
    guard: bool = Field(
        True,
        description="Put an apostrophe before texts of the CSV that a spreadsheet would take for a formula, and "
        "before those that begin with one.",
    )


class StatsQuery(Query):
    """Statistics of which stream, over how many days."""

    stream: Exactly = Field(None, description="Of this stream alone.")
    days: int = Field(30, ge=1, le=400, description="Whole local days, today the last of them.")
    top: int = Field(10, ge=0, le=100, description="How many users are named.")


class MessageEndpoints:
    """CONTRACT E: messages."""

    def __init__(
        self,
        messages: Logs[MessageRow],
        zone: ZoneInfo,
        sources: tuple[Source, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._messages = messages
        self._zone = zone
        self._addresses = {source.name: _without_query(source.url) for source in sources}
        self._clock = clock
        self._downloads = Downloads()

    async def run(self) -> None:
        """Lives until cancelled, which breaks off the exports that run: the exporter does not wait for them."""
        await self._downloads.run()

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/messages", self.page),
            web.get("/api/messages/export", self.export),
            web.get("/api/messages/{message_id}", self.one),
            web.get("/api/search", self.search),
            web.get("/api/stats", self.stats),
        ]

    @requires(Role.VIEWER)
    @operation("Messages", answer=LoggedMessages, query=PageQuery)
    async def page(self, request: web.Request) -> web.Response:
        """Stored messages, the newest first, by filters and search."""
        query = read_query(request, PageQuery)
        found = await self._messages.page(self._wanted(request, query), query.limit, before(query.cursor))
        shown = [row.as_json() for row in found.rows]
        return json_answer({"messages": shown, "next_cursor": cursor(found.next_id)})

    @requires(Role.VIEWER)
    @operation("Messages", answer=FoundMessages, query=SearchQuery)
    async def search(self, request: web.Request) -> web.Response:
        """Messages that hold a text, the newest first, and where in them it is."""
        query = read_query(request, SearchQuery)
        wanted = self._wanted(request, query)
        found = await self._messages.page(wanted, query.limit, before(query.cursor))
        shown = await self._messages.room.run(lambda: [_marked(row, wanted.text) for row in found.rows])
        return json_answer({"messages": shown, "next_cursor": cursor(found.next_id)})

    @requires(Role.VIEWER)
    @operation("Messages", answer=WholeMessage)
    async def one(self, request: web.Request) -> web.Response:
        """One stored message, with what came where that was kept."""
        wanted = replace(self._wanted(request, MessagesQuery()), payloads=True)
        return json_answer(with_payload(await self._messages.one(wanted, request.match_info["message_id"])))

    @requires(Role.VIEWER)
    @operation(
        "Messages",
        answer=WholeMessage,
        media=(CSV, NDJSON),
        query=ExportQuery,
        answers={
            200: Answer("The file", dict[str, Any], (CSV, JSON), {"Content-Disposition": "The file's name."}),
        },
    )
    async def export(self, request: web.Request) -> web.StreamResponse:
        """Stored messages as a file, the oldest first: those that are stored when it begins.

        An archive (`har`) has one entry a connection, stream by stream. It is compressed where gzip is accepted.
        503 while `search.exports` others run. A file that broke off ends without the last chunk of HTTP.
        """
        query = read_query(request, ExportQuery)
        wanted = replace(self._wanted(request, query), payloads=query.format != "csv")
        headers = attachment("messages", query.format, self._now())
        file = Download(lambda encode: self._parts(wanted, query, encode), self._encoder(query), headers)
        return await self._downloads.answer(request, file)

    @requires(Role.VIEWER)
    @operation("Messages", answer=Stats, query=StatsQuery)
    async def stats(self, request: web.Request) -> web.Response:
        """How many messages there were, by day, by hour of the day, by user, by stream and kind.

        Users of the own chat are told only to who may enter all of its sessions.
        """
        query = read_query(request, StatsQuery)
        caller = principal_of(request)
        chat = caller.sessions is None or caller.may(Role.ADMIN)
        asked = Asked(self._now(), query.stream, query.days, query.top, chat)
        return json_answer(_stats(await message_stats(self._messages.room, asked), self._zone))

    def _wanted(self, request: web.Request, query: MessagesQuery) -> MessageFilter:
        return query.wanted(principal_of(request), self._now())

    def _encoder(self, query: ExportQuery) -> Encoder[MessageRow]:
        if query.format == "csv":
            return Csv(MessageRow._fields, without="raw", guarded=query.guard, bom=query.bom)
        return JsonLines(with_payload) if query.format == "jsonl" else Har(self._addresses)

    def _parts(
        self, wanted: MessageFilter, query: ExportQuery, encode: Encode[MessageRow]
    ) -> AsyncGenerator[bytes, None]:
        if query.format == "har":
            return self._by_stream(wanted, query.stream, encode)
        return self._messages.export(wanted, encode)

    async def _by_stream(
        self, wanted: MessageFilter, stream: str | None, encode: Encode[MessageRow]
    ) -> AsyncGenerator[bytes, None]:
        """The parts of all recorded streams one after the other; within one, connections follow each other."""
        room = self._messages.room
        with room.export():
            for each in await recorded_streams(room):
                if stream not in (None, each):
                    continue
                own = wanted if stream else replace(wanted, equal=(*wanted.equal, ("stream", each)))
                async with aclosing(self._messages.parts(own, encode)) as parts:
                    async for part in parts:
                        yield part

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), self._zone)


def _marked(row: MessageRow, text: TextQuery) -> Mapping[str, Any]:
    """A message and where in it the terms are."""
    found = {name: spans(text, value) for name in FIELDS if (value := getattr(row, name))}
    highlights = [
        {"field": name, "start": span.start, "end": span.end} for name, own in found.items() for span in own
    ]
    return row.as_json() | {"highlights": highlights, "snippet": snippet(row.text, found.get("text", []))}


def _stats(found: MessageStats, zone: ZoneInfo) -> Stats:
    return {
        "total_messages": found.total,
        "messages_today": found.today,
        "active_users": found.users,
        "users_complete": found.complete,
        "timezone": zone.key,
        "daily": [{"date": date, "messages": messages} for date, messages in found.days],
        "hourly": [{"hour": hour, "messages": messages} for hour, messages in enumerate(found.hours)],
        "top_users": [
            {"stream": each.stream, "user_id": each.user_id, "messages": each.messages} for each in found.top
        ],
        "streams": [{"stream": stream, "messages": messages} for stream, messages in found.streams],
        "kinds": [{"stream": stream, "kind": kind, "messages": messages} for stream, kind, messages in found.kinds],
    }


def _without_query(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl()
