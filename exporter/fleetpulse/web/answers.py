"""JSON answers and paging, shared by every handler."""

import re
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from fleetpulse.errors import InvalidInputError

T = TypeVar("T")
MAX_PAGE = 1_000
LIMIT = re.compile("[0-9]{1,9}")


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
    """One page of items sorted by `key`, after `?cursor=`, at most `?limit=`; and the cursor of the next page."""
    limit = _limit(request.query.get("limit", "100"))
    cursor = request.query.get("cursor", "")
    rest = [item for item in items if key(item) > cursor] if cursor else items
    shown = rest[:limit]
    return shown, key(shown[-1]) if len(rest) > limit else None


def _limit(text: str) -> int:
    if not LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_PAGE:
        raise InvalidInputError(
            "limit is out of range", [{"loc": ["query", "limit"], "msg": f"must be a number from 1 to {MAX_PAGE}"}]
        )
    return int(text)
