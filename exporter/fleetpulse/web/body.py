"""Request bodies: read within limits, then decoded item by item, so that one bad item never rejects its batch."""

import asyncio
import codecs
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from aiohttp import web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from fleetpulse.config import Limits
from fleetpulse.errors import InvalidInputError, MalformedError, TooLargeError
from fleetpulse.web.problems import validation_errors

NDJSON = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"}
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
MAX_ERRORS_PER_ITEM = 5
BODY_SECONDS = 60.0  # for a body that did not come with its head; whoever sends more slowly holds up only itself
SPACE = re.compile(r"[ \t\n\r]*")
LENIENT = json.JSONDecoder(parse_int=float)  # Python reads no integers of more than 4,300 digits
# What is left over when a gzip member ends is copied: in pieces, a body of many tiny members stays linear.
PIECE_BYTES = 4_096
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Rejection:
    """An item that breaks the contract: its place in the request and why."""

    index: int
    errors: list[dict[str, Any]]


@dataclass(slots=True)
class Items(Generic[M]):
    """A decoded body: the good items in order, the bad ones by index; `single` where it was one bare object."""

    good: Sequence[M]
    rejected: list[Rejection] = field(default_factory=list)
    single: bool = False


async def read_body(request: web.Request, limits: Limits) -> bytes:
    """The body, decompressed. Raises TooLargeError past a limit, MalformedError where it cannot be decompressed."""
    try:
        body = await (
            request.read() if request.content.is_eof() else asyncio.wait_for(request.read(), BODY_SECONDS)
        )
    except HTTPRequestEntityTooLarge as error:
        raise TooLargeError(f"the body has more bytes than limits.body_bytes, {limits.body_bytes}") from error
    except TimeoutError as error:
        raise MalformedError(f"the body did not arrive within {BODY_SECONDS:.0f} seconds") from error
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return body.removeprefix(codecs.BOM_UTF8)
    if encoding not in WINDOW_BITS:
        raise MalformedError(f"Content-Encoding must be gzip or deflate, or none; not {encoding[:40]!a}")
    plain = await asyncio.to_thread(_decompress, body, WINDOW_BITS[encoding], limits.decompressed_bytes)
    return plain.removeprefix(codecs.BOM_UTF8)


def _decompress(body: bytes, window_bits: int, limit: int) -> bytes:
    """All members of a compressed body, never holding more than `limit` bytes of the result."""
    parts: list[bytes] = []
    room, at = limit, 0
    inflater = zlib.decompressobj(window_bits)
    while at < len(body):
        if inflater.eof:
            inflater = zlib.decompressobj(window_bits)
        piece = body[at : at + PIECE_BYTES]
        try:
            part = inflater.decompress(piece, room + 1)
        except zlib.error as error:
            raise MalformedError(f"the body does not match its Content-Encoding: {error}") from error
        at += len(piece) - len(inflater.unused_data)
        room -= len(part)
        if room < 0:
            raise TooLargeError(f"the decompressed body has more than limits.decompressed_bytes, {limit}")
        parts.append(part)
    if not inflater.eof:
        raise MalformedError("the compressed body ends too early")
    return b"".join(parts)


class Decoder(Generic[M]):
    """Decodes one object, an array or NDJSON into models of one kind."""

    def __init__(self, model: type[M], max_items: int) -> None:
        self._one = TypeAdapter(model)
        # Bounded here, too: millions of bad items in a small body would be millions of errors in memory.
        bounded = Annotated[list[model], Field(max_length=max_items)]  # type: ignore[valid-type]  # known only here
        self._many: TypeAdapter[list[M]] = TypeAdapter(bounded)
        self._max_items = max_items

    def decode(self, body: bytes, content_type: str) -> Items[M]:
        """The items of a body. Raises MalformedError for unreadable bytes, InvalidInputError for a bad single."""
        if content_type in NDJSON:
            return self._lines(body)
        start = body.lstrip()[:1]
        if start == b"[":
            return self._array(body)
        return Items([self.one(body)], single=True)

    def one(self, body: bytes) -> M:
        """One object."""
        try:
            return self._one.validate_json(body)
        except ValidationError as error:
            _refuse_unreadable(error)
            raise InvalidInputError("the object breaks the contract", validation_errors(error)) from error

    def _array(self, body: bytes) -> Items[M]:
        try:
            return Items(self._many.validate_json(body))
        except ValidationError as error:
            if error.error_count() == 1 and _is_too_long(error):
                raise _too_many(self._max_items) from error
        return self._separately(_cut(body, self._max_items))

    def _lines(self, body: bytes) -> Items[M]:
        lines = [line for line in body.splitlines() if line.strip()]
        _bound(len(lines), self._max_items)
        try:
            items = self._many.validate_json(b"[" + b",".join(lines) + b"]")
        except ValidationError:
            items = []
        if len(items) == len(lines):
            return Items(items)
        return self._separately(lines)

    def _separately(self, bodies: Sequence[bytes]) -> Items[M]:
        good: list[M] = []
        rejected: list[Rejection] = []
        for index, body in enumerate(bodies):
            try:
                good.append(self._one.validate_json(body))
            except ValidationError as error:
                rejected.append(Rejection(index, validation_errors(error)[:MAX_ERRORS_PER_ITEM]))
        return Items(good, rejected)


def _refuse_unreadable(error: ValidationError) -> None:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise MalformedError(f"the body is not JSON: {first['msg']}") from error


def _cut(body: bytes, most: int) -> list[bytes]:
    """An array's items as they were sent, each to be judged alone.

    Raises MalformedError, and TooLargeError past `most`. Reads more than an item may hold: bytes that are no UTF-8,
    lone surrogates, NaN and endless numbers cost the item that has them, not the batch.
    """
    text = body.decode("utf-8", "surrogateescape")
    items: list[bytes] = []
    try:
        at = _skip(text, _skip(text, 0) + 1)
        while True:
            end = LENIENT.raw_decode(text, at)[1]
            items.append(text[at:end].encode("utf-8", "surrogateescape"))
            _bound(len(items), most)
            at = _skip(text, end)
            if text[at] == "]":
                break
            if text[at] != ",":
                raise ValueError(f"no comma between items at character {at}")  # noqa: TRY301 - told like the others
            at = _skip(text, at + 1)
        if _skip(text, at + 1) < len(text):
            raise ValueError("something follows the array")  # noqa: TRY301
    except (ValueError, IndexError, RecursionError) as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    return items


def _skip(text: str, at: int) -> int:
    """The place of the first character from `at` on that is no white space."""
    found = SPACE.match(text, at)
    assert found is not None  # noqa: S101 - it matches nothing, too
    return found.end()


def _bound(count: int, most: int) -> None:
    if count > most:
        raise _too_many(most)


def _too_many(most: int) -> TooLargeError:
    return TooLargeError(f"more than {most} items in one request (limits.batch_items)")


def _is_too_long(error: ValidationError) -> bool:
    """Whether it is the array itself that has too many items."""
    first = error.errors(include_input=False)[0]
    return first["type"] == "too_long" and not first["loc"]
