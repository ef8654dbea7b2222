"""JSON answers and paging, shared by every handler."""

import re
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Annotated, Any, NotRequired, TypeVar

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from fleetpulse.web.operations import Query, read_query

T = TypeVar("T")
MAX_PAGE = 1_000
LIMIT = re.compile("[0-9]{1,9}")


class Reason(TypedDict):
    """One thing that is wrong with an item: where in it, and what."""

    loc: list[str | int]
    msg: str


class Rejected(TypedDict):
    """An item that was not kept: its place in the request from 0, and at most five reasons."""

    index: int
    errors: list[Reason]


class Kept(TypedDict):
    """What became of the items of a request; `accepted` ones are on disk."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]


class Taken(TypedDict):
    """How many heartbeats were taken; `rejected` only where many were sent."""

    accepted: int
    rejected: NotRequired[list[Rejected]]


def digits(value: Any) -> Any:
    """Refuses what Python reads as a number and nobody else does: ` 5`, `1_0`, `²`."""
    if isinstance(value, str) and not LIMIT.fullmatch(value):
        raise ValueError(f"must be a number from 1 to {MAX_PAGE}")
    return value


class Paged(Query):
    """The query of a list that comes in pages."""

    limit: Annotated[int, BeforeValidator(digits)] = Field(
        100, ge=1, le=MAX_PAGE, description="Most items in a page."
    )
    cursor: str = Field("", description="`next_cursor` of the page before; without it, the first page.")


def json_answer(data: Any, status: int = 200) -> web.Response:
    """An `application/json` response."""
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


class Acknowledgement(web.Response):
    """A small `202 Accepted` in JSON, written to the socket at once.

    Building headers one by one costs aiohttp as much as storing the request log that is acknowledged. So where
    nothing can vary (HTTP/1.1 on a connection that stays open), head and body are two joined byte strings; any
    other request gets the same answer the ordinary way.
    """

    def __init__(self, data: Any) -> None:
        super().__init__(status=202, body=orjson.dumps(data), content_type="application/json")
        self._written = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Writes everything, or leaves it to aiohttp."""
        transport = request.transport
        if transport is None or request.version != HttpVersion11 or not request.keep_alive:
            return await super().prepare(request)
        body = self.body
        assert isinstance(body, bytes)  # noqa: S101 - what orjson made
        transport.write(b"%s%d\r\n\r\n%s" % (_accepted_head(int(time.time())), len(body), body))
        self._written = True
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Ends the answer, unless it is out already."""
        if not self._written:
            await super().write_eof(data)

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection goes on."""
        return self._written or super().keep_alive


@lru_cache(maxsize=1)
def _accepted_head(now: int) -> bytes:
    """The head of an acknowledgement within one second, up to the length."""
    date = formatdate(now, usegmt=True)
    return f"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nDate: {date}\r\nContent-Length: ".encode()


def page(request: web.Request, items: Sequence[T], key: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """One page of items sorted by `key`, as the query (Paged) asks; and the cursor of the next page."""
    query = read_query(request, Paged)
    rest = [item for item in items if key(item) > query.cursor] if query.cursor else items
    shown = rest[: query.limit]
    return shown, key(shown[-1]) if len(rest) > query.limit else None
