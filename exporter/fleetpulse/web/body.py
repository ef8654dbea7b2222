"""Request bodies: read within limits, then decoded item by item, so that one bad item never rejects its batch."""

import asyncio
import codecs
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiohttp import web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from pydantic import BaseModel, TypeAdapter, ValidationError

from fleetpulse.config import Limits
from fleetpulse.errors import InvalidInputError, MalformedError, TooLargeError
from fleetpulse.web.problems import validation_errors

NDJSON = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"}
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
MAX_ERRORS_PER_ITEM = 5
BODY_SECONDS = 60.0  # for a body that did not come with its head; whoever sends more slowly holds up only itself
MAX_DIGITS = 4_300  # Python's own limit for reading integers
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
        self._many = TypeAdapter(list[model])  # type: ignore[valid-type]  # the model is only known here
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
            items = self._many.validate_json(body)
        except ValidationError:
            return self._each(_loads(body))
        self._bound(len(items))
        return Items(items)

    def _lines(self, body: bytes) -> Items[M]:
        lines = [line for line in body.splitlines() if line.strip()]
        self._bound(len(lines))
        try:
            items = self._many.validate_json(b"[" + b",".join(lines) + b"]")
        except ValidationError:
            items = []
        if len(items) == len(lines):
            return Items(items)
        return self._separately(lines)

    def _each(self, values: list[Any]) -> Items[M]:
        self._bound(len(values))
        return self._separately([json.dumps(value).encode() for value in values])

    def _separately(self, bodies: Sequence[bytes]) -> Items[M]:
        good: list[M] = []
        rejected: list[Rejection] = []
        for index, body in enumerate(bodies):
            try:
                good.append(self._one.validate_json(body))
            except ValidationError as error:
                rejected.append(Rejection(index, validation_errors(error)[:MAX_ERRORS_PER_ITEM]))
        return Items(good, rejected)

    def _bound(self, count: int) -> None:
        if count > self._max_items:
            raise TooLargeError(f"{count} items in one request; limits.batch_items is {self._max_items}")


def _refuse_unreadable(error: ValidationError) -> None:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise MalformedError(f"the body is not JSON: {first['msg']}") from error


def _loads(body: bytes) -> list[Any]:
    """The values of an array, read more leniently than an item may be: what is wrong with one is its own error.

    So bytes that are no UTF-8, lone surrogates, NaN and endless numbers cost one item, not the batch.
    """
    try:
        values = json.loads(body.decode("utf-8", "surrogateescape"), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    assert isinstance(values, list)  # noqa: S101 - the body begins with a bracket
    return values


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
