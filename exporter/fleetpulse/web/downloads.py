"""Rows as files: streamed as fast as they are taken, compressed where that is accepted, broken off at the end."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any, Generic

from aiohttp import web

from fleetpulse.query.reader import Encode
from fleetpulse.query.subject import R
from fleetpulse.web.exports import Encoder, Gzip
from fleetpulse.web.operations import CSV, JSON, NDJSON

STALL_SECONDS = 60.0  # a client that takes nothing for so long makes room for another
MEDIA = {"csv": f"{CSV}; charset=utf-8; header=present", "jsonl": NDJSON, "har": JSON}
log = logging.getLogger(__name__)

Parts = Callable[[Encode[R]], AsyncGenerator[bytes, None]]
"""The parts of a file, encoded so. It raises before the first part, if at all: nothing is sent then."""


class Download(Generic[R]):
    """One file: what is in it, how it is written, and the headers of the answer."""

    def __init__(self, parts: Parts[R], encoder: Encoder[R], headers: Mapping[str, str]) -> None:
        self.parts = parts
        self.encoder = encoder
        self.headers = headers


class Downloads:
    """All that run."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Lives until cancelled, which breaks off those that run: the exporter does not wait for them."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for task in self._tasks:
                task.cancel()

    async def answer(self, request: web.Request, file: Download[R]) -> web.StreamResponse:
        """The answer, when all of the file is sent, or its client is gone."""
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding", **file.headers}
        encoder = file.encoder
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            encoder, headers = Gzip(encoder), headers | {"Content-Encoding": "gzip"}
        response = web.StreamResponse(headers=headers)
        if request.method != "HEAD":
            with self._breakable():
                await _stream(request, response, file.parts, encoder)
        return response

    @contextmanager
    def _breakable(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - handlers run in tasks
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)


def attachment(name: str, form: str, now: datetime) -> dict[str, str]:
    """The headers of a file of rows; `form` is the ending of its name."""
    stamp = now.astimezone(UTC)
    return {
        "Content-Disposition": f'attachment; filename="{name}-{stamp:%Y%m%dT%H%M%SZ}.{form}"',
        "Content-Type": MEDIA[form],
    }


async def _stream(request: web.Request, response: web.StreamResponse, read: Parts[R], encoder: Encoder[R]) -> None:
    async with aclosing(read(encoder.encode)) as parts:
        first = encoder.begin() + await anext(parts, b"")  # refused before anything is sent, if at all
        await response.prepare(request)
        try:
            await _send(response, first)
            async for part in parts:
                await _send(response, part)
            await _send(response, encoder.end())
        except TimeoutError:
            log.info("an export is given up: its client takes nothing")
            if request.transport is not None:
                request.transport.abort()


async def _send(response: web.StreamResponse, part: bytes) -> None:
    """Hands a part over as fast as it is taken. Raises TimeoutError where nobody takes it."""
    if part:
        async with asyncio.timeout(STALL_SECONDS):
            await response.write(part)
