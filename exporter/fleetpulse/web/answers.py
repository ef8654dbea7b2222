"""JSON answers and paging, shared by every handler."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from aiohttp import web

from fleetpulse.errors import InvalidInputError

T = TypeVar("T")
MAX_PAGE = 1_000


def json_answer(data: Any, status: int = 200) -> web.Response:
    """An `application/json` response."""
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def page(request: web.Request, items: Sequence[T], key: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """One page of items sorted by `key`, after `?cursor=`, at most `?limit=`; and the cursor of the next page."""
    limit = _limit(request.query.get("limit", "100"))
    cursor = request.query.get("cursor", "")
    rest = [item for item in items if key(item) > cursor] if cursor else items
    shown = rest[:limit]
    return shown, key(shown[-1]) if len(rest) > limit else None


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_PAGE:
        raise InvalidInputError(
            "limit is out of range", [{"loc": ["query", "limit"], "msg": f"must be a number from 1 to {MAX_PAGE}"}]
        )
    return int(text)
