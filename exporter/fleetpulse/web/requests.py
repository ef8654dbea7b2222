"""Stored request logs: pages with filters and search, single ones, and exports that stream."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.errors import InvalidInputError
from fleetpulse.journal import RequestRow
from fleetpulse.query.filters import EQUAL, RequestFilter
from fleetpulse.query.logs import Logs
from fleetpulse.query.text import parse
from fleetpulse.query.windows import moment
from fleetpulse.web.answers import MAX_PAGE, digits, json_answer
from fleetpulse.web.downloads import Download, Downloads, attachment
from fleetpulse.web.exports import Csv, Encoder, JsonLines
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import CSV, NDJSON, Answer, Query, operation, read_query

MAX_TERMS = 16
START = "Received from then on: RFC 3339 with an offset, or a date, which is its midnight in the configured zone."
END = "Received before then; the same forms."
TEXTS = (
    "Search: all of these words (each may be the beginning of one), Chinese and other characters wherever they "
    'follow each other, and "quoted phrases", in command, error, ids, source, model, provider and metadata.'
)
CURSOR = "`next_cursor` of the page before, as it is; without it, the newest."


def _absent(text: Any) -> Any:
    """A filter that is left empty, as forms send it, is none."""
    return None if text == "" else text


def _lower(text: str | None) -> str | None:
    return text and text.strip().lower()


Exactly = Annotated[Annotated[str, Field(max_length=200)] | None, BeforeValidator(_absent)]
Least = Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(_absent)]
Moment = Annotated[Annotated[str, Field(max_length=40)] | None, BeforeValidator(_absent)]
Flag = Annotated[bool | None, BeforeValidator(_absent)]


class FilterQuery(Query):
    """Which requests; all that is given must hold, what is empty counts for nothing."""

    source: Exactly = Field(None, description="Exactly this source.")
    status: Annotated[Exactly, AfterValidator(_lower)] = Field(None, description="Exactly this status.")
    failed: Flag = Field(None, description="Whether the status is another than `success`.")
    user_id: Exactly = Field(None, description="Exactly this user.")
    model: Exactly = Field(None, description="Exactly this model.")
    account_id: Exactly = Field(None, description="Exactly this account.")
    session_id: Exactly = Field(None, description="Exactly this session.")
    trace_id: Exactly = Field(None, description="Exactly this trace.")
    q: Exactly = Field(None, description=TEXTS)
    start: Moment = Field(None, description=START)
    end: Moment = Field(None, description=END)
    min_cost: Least = Field(None, description="A known cost of so much or more, in USD.")
    min_time: Least = Field(None, description="It took so long or longer, in seconds.")

    def wanted(self, now: datetime) -> RequestFilter:
        """The filter; `now` is in the configured time zone. Raises InvalidInputError."""
        text = parse(self.q or "")
        if self.q and self.q.strip() and not text.terms:
            raise _wrong("q", "holds nothing to search for: neither a word nor a number nor a character")
        if len(text.terms) > MAX_TERMS:
            raise _wrong("q", f"has more than {MAX_TERMS} words")
        return RequestFilter(
            text=text,
            equal=tuple((name, value) for name in EQUAL if (value := getattr(self, name)) is not None),
            failed=self.failed,
            start=None if self.start is None else moment("start", self.start, now).timestamp(),
            end=None if self.end is None else moment("end", self.end, now).timestamp(),
            min_cost=self.min_cost,
            min_time=self.min_time,
        )


class PageQuery(FilterQuery):
    """Which requests, and which page of them."""

    limit: Annotated[int, BeforeValidator(digits)] = Field(50, ge=1, le=MAX_PAGE, description="Most in a page.")
    cursor: Annotated[str, Field(pattern="^[0-9a-f]{0,15}$")] = Field("", description=CURSOR)


class ExportQuery(FilterQuery):
    """Which requests, and how they are written."""

    format: Literal["csv", "jsonl"] = Field("csv", description="CSV (RFC 4180), or a JSON object a line.")
    bom: bool = Field(False, description="Begin the CSV with a byte order mark, by which Excel knows UTF-8.")
    guard: bool = Field(
        True,
        description="Put an apostrophe before texts of the CSV that a spreadsheet would take for a formula, and "
        "before those that begin with one.",
    )


class StoredRequest(TypedDict):
    """A stored request; what it does not have is left out.

    `timestamp` is when it happened, as reported; else when it was received. Seconds and USD; `input_tokens` include
    `cached_tokens`. `cost_source` is `reported`, `computed`, `corrected` (given afterwards) or `unknown`.
    """

    request_id: str
    received_at: datetime
    timestamp: datetime
    source: str
    user_id: str
    command: str
    status: str
    execution_time: float
    tokens_used: int
    model: NotRequired[str]
    provider: NotRequired[str]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    cost: NotRequired[float]
    cost_source: NotRequired[str]
    error: NotRequired[str]
    session_id: NotRequired[str]
    trace_id: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    account_id: NotRequired[str]


class StoredRequests(TypedDict):
    """Requests, the newest first. `next_cursor` is null on the last page.

    A page may have fewer than were asked for, even none, and a next one: the time for one call was over.
    """

    requests: list[StoredRequest]
    next_cursor: str | None


class RequestEndpoints:
    """CONTRACT B: rows."""

    def __init__(self, logs: Logs[RequestRow], zone: ZoneInfo, clock: Callable[[], float] = time.time) -> None:
        self._logs = logs
        self._zone = zone
        self._clock = clock
        self._downloads = Downloads()

    async def run(self) -> None:
        """Lives until cancelled, which breaks off the exports that run: the exporter does not wait for them."""
        await self._downloads.run()

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/requests", self.page),
            web.get("/api/requests/export", self.export),
            web.get("/api/requests/{request_id}", self.one),
        ]

    @requires(Role.VIEWER)
    @operation("Requests", answer=StoredRequests, query=PageQuery)
    async def page(self, request: web.Request) -> web.Response:
        """Stored requests, the newest first, by filters and search."""
        query = read_query(request, PageQuery)
        before = int(query.cursor, 16) if query.cursor else None
        found = await self._logs.page(query.wanted(self._now()), query.limit, before)
        cursor = None if found.next_id is None else f"{found.next_id:x}"
        return json_answer({"requests": [row.as_json() for row in found.rows], "next_cursor": cursor})

    @requires(Role.VIEWER)
    @operation("Requests", answer=StoredRequest)
    async def one(self, request: web.Request) -> web.Response:
        """One stored request."""
        row = await self._logs.one(RequestFilter(), request.match_info["request_id"])
        return json_answer(row.as_json())

    @requires(Role.VIEWER)
    @operation(
        "Requests",
        answer=StoredRequest,
        media=(CSV, NDJSON),
        query=ExportQuery,
        answers={200: Answer("The file", media=(CSV,), headers={"Content-Disposition": "The file's name."})},
    )
    async def export(self, request: web.Request) -> web.StreamResponse:
        """Stored requests as a file, the oldest first: those that are stored when it begins.

        It is compressed where gzip is accepted. 503 while `search.exports` others run. A file that broke off ends
        without the last chunk of HTTP, so clients know it.
        """
        query = read_query(request, ExportQuery)
        wanted = query.wanted(self._now())
        headers = attachment("requests", query.format, self._now())
        file = Download(lambda encode: self._logs.export(wanted, encode), _encoder(query), headers)
        return await self._downloads.answer(request, file)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), self._zone)


def _encoder(query: ExportQuery) -> Encoder[RequestRow]:
    return Csv(guarded=query.guard, bom=query.bom) if query.format == "csv" else JsonLines()


def _wrong(name: str, message: str) -> InvalidInputError:
    return InvalidInputError("the query does not validate", [{"loc": ["query", name], "msg": message}])
