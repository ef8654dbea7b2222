"""OTLP/HTTP in: `/v1/traces` and `/v1/logs`. Answers 200 once every request log that was in it is committed.

Answers and errors come in the encoding of the request, errors as google.rpc.Status rather than problem documents:
that is what exporters of OpenTelemetry read. Bodies are decoded a few items at a time, one body after the other, so
that the event loop is never held up for more than a few milliseconds.
"""

import asyncio

import orjson
from aiohttp import web

from fleetpulse import catalogue
from fleetpulse.auth import Role
from fleetpulse.config import Settings
from fleetpulse.errors import InvalidInputError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.otlp.intake import Account, Intake
from fleetpulse.otlp.plain import LOGS, TRACES, Kind
from fleetpulse.otlp.reply import JSON, PROTOBUF, failure, success
from fleetpulse.pipeline import Pipeline
from fleetpulse.web.body import read_body
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import Answer, operation
from fleetpulse.web.otlp_documents import LogsAnswer, LogsRequest, Refusal, TracesAnswer, TracesRequest
from fleetpulse.web.problems import translates_problems

MEDIA = (JSON, PROTOBUF)
ITEMS: dict[Kind, str] = {TRACES: "spans", LOGS: "log records"}
OUTCOMES = ("stored", "duplicate", "ignored", "rejected", "refused")
KEPT_HEADERS = ("Retry-After", "WWW-Authenticate")
REFUSALS = {
    status: Answer(meaning, Refusal, MEDIA)
    for status, meaning in (
        (400, "The data cannot be read; do not send it again."),
        (401, "Credentials are missing or do not hold."),
        (403, "The caller may not send."),
        (413, "The request is over a limit; do not send it again."),
        (415, "Neither `application/x-protobuf` nor `application/json`."),
        (503, "Nothing was kept; send it again after `Retry-After` seconds."),
    )
}


def as_status(request: web.Request, problem: web.Response) -> web.Response:
    """A problem document as google.rpc.Status, in the request's encoding; JSON where that is unknown."""
    media = PROTOBUF if request.content_type == PROTOBUF else JSON
    document = orjson.loads(problem.body) if isinstance(problem.body, bytes) and problem.body else {}
    headers = {name: problem.headers[name] for name in KEPT_HEADERS if name in problem.headers}
    answer = web.Response(
        body=failure(media, problem.status, document.get("detail", "")),
        status=problem.status,
        content_type=media,
        headers=headers,
    )
    if problem.keep_alive is False:  # the exporter is stopping
        answer.force_close()
    return answer


class OtlpEndpoints:
    """The receiver's two addresses."""

    def __init__(self, pipeline: Pipeline, settings: Settings, instruments: Instruments) -> None:
        self._pipeline = pipeline
        self._limits = settings.limits
        self._intake = Intake(settings.limits.batch_items, events=settings.otlp_in.events == "always")
        self._items = instruments.counter(catalogue.OTLP_ITEMS_RECEIVED)
        self._decoding = asyncio.Lock()
        for kind in (TRACES, LOGS):
            for outcome in OUTCOMES:
                self._items.labels(kind, outcome)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [web.post("/v1/traces", self.traces), web.post("/v1/logs", self.logs)]

    @requires(Role.REPORTER)
    @translates_problems(as_status)
    @operation(
        "OpenTelemetry",
        answer=TracesAnswer,
        media=MEDIA,
        body=TracesRequest,
        body_media=MEDIA,
        answers=REFUSALS,
        problems=(415,),
    )
    async def traces(self, request: web.Request) -> web.Response:
        """Takes spans of OpenTelemetry; those of model calls become request logs.

        Other spans are accepted, ignored and counted. The answer comes once every request log is on disk.
        The same span again changes nothing.
        """
        return await self._export(TRACES, request)

    @requires(Role.REPORTER)
    @translates_problems(as_status)
    @operation(
        "OpenTelemetry",
        answer=LogsAnswer,
        media=MEDIA,
        body=LogsRequest,
        body_media=MEDIA,
        answers=REFUSALS,
        problems=(415,),
    )
    async def logs(self, request: web.Request) -> web.Response:
        """Takes log records of OpenTelemetry; events of model calls become request logs.

        Those whose span is exported belong to the span. Other records are accepted, ignored and counted. The same
        record again changes nothing.
        """
        return await self._export(LOGS, request)

    async def _export(self, kind: Kind, request: web.Request) -> web.Response:
        media = request.content_type
        if media not in MEDIA:
            raise web.HTTPUnsupportedMediaType(text=f"the body must be {PROTOBUF} or {JSON}")
        account = await self._read(kind, media, request)
        if account.good:
            await self._store(kind, account)
        rejected = account.rejected.total()
        self._count(kind, "ignored", account.ignored)
        if rejected:
            self._count(kind, "rejected", rejected)
            self._pipeline.count("request", "rejected", rejected)
        reasons = account.reasons(ITEMS[kind]) if rejected else ""
        return web.Response(body=success(kind, media, rejected, reasons), content_type=media)

    async def _read(self, kind: Kind, media: str, request: web.Request) -> Account:
        account = Account()
        try:
            body = await read_body(request, self._limits)
            async with self._decoding:
                for _ in self._intake.read(kind, media, body, account):
                    await asyncio.sleep(0)
        except InvalidInputError:
            self._pipeline.count("request", "rejected", 1)
            raise
        return account

    async def _store(self, kind: Kind, account: Account) -> None:
        try:
            receipt = await self._pipeline.requests(account.good)
        except OverloadedError:
            self._count(kind, "refused", len(account.good))
            raise
        self._count(kind, "stored", receipt.stored)
        self._count(kind, "duplicate", receipt.duplicates)

    def _count(self, kind: Kind, outcome: str, number: int) -> None:
        self._items.labels(kind, outcome).inc(number)
