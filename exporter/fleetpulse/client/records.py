"""What one logged call or activity becomes: a line of JSON with its checksum, final before the caller goes on.

Promises: a record that can be kept is kept. Text that is too long is cut, ids become text, metadata that is no JSON
is described; the numbers, which are money, are never touched. An id is there from the start, so that a record sent
twice is a duplicate at the server.
Refuses: what no JSON can say in a number's place (NaN, say). The server judges the rest.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from reprlib import Repr
from typing import NamedTuple, SupportsFloat, SupportsIndex, TypedDict
from uuid import UUID
from zlib import crc32

MAX_TEXT = 8_192
MAX_METADATA = 16_384
MAX_ERROR = 1_000
CRC_LENGTH = 9  # eight hexadecimal digits and a space
# The server's bounds, which tests/client/test_records.py compares with fleetpulse.signals.
LIMITS = {
    "request_id": 200,
    "user_id": 200,
    "session_id": 200,
    "trace_id": 200,
    "account_id": 200,
    "source": 128,
    "model": 128,
    "provider": 128,
    "status": 64,
    "command": MAX_TEXT,
    "error": MAX_TEXT,
}
LINES_ALLOWED = frozenset({"command", "error", "text"})
AS_GIVEN = frozenset(
    {"execution_time", "tokens_used", "cost", "input_tokens", "output_tokens", "cached_tokens", "metadata"}
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHORTLY = Repr()
_SHORTLY.maxstring = _SHORTLY.maxother = 200

Text = str | int | UUID | Enum


class Shape(NamedTuple):
    """Records of one kind: the field they go by, the server's bounds of their texts, the fields that go as given.

    `mark` goes before the JSON in the spool and says where the record is to be sent.
    """

    key: str
    limits: Mapping[str, int]
    as_given: frozenset[str]
    mark: bytes = b""


REQUEST = Shape("request_id", LIMITS, AS_GIVEN)


class RequestFields(TypedDict, total=False):
    """What may be said of one call. Seconds, US dollars, tokens; `input_tokens` include `cached_tokens`.

    None is the same as leaving a field out. Without `request_id` one is made, without `source` it is the monitor's,
    without `status` it is "success", without `timestamp` it is now (one without a zone is local time; numbers are
    seconds since 1970). `tokens_used` and `cost` are left out where the server is to work them out.
    """

    request_id: Text | None
    source: Text | None
    user_id: Text | None
    command: str | None
    status: Text | None
    execution_time: float | timedelta | None
    tokens_used: int | None
    cost: float | Decimal | None
    model: Text | None
    provider: Text | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    error: str | BaseException | None
    session_id: Text | None
    trace_id: Text | None
    account_id: Text | None
    metadata: Mapping[str, object] | None
    timestamp: datetime | float | str | None


class Record(NamedTuple):
    """A line ready for the spool, the id it goes by, and the names of fields that are none."""

    key: str
    line: bytes
    unknown: tuple[str, ...]


def encode(fields: Mapping[str, object], source: str) -> Record:
    """The record of one call. Raises ValueError or TypeError where a number is none that JSON can say."""
    said, unknown = normal(fields, REQUEST)
    said.setdefault("source", source)
    said.setdefault("status", "success")
    said.setdefault("execution_time", 0.0)
    return finish(said, unknown, REQUEST)


def finish(said: dict[str, object], unknown: list[str], shape: Shape) -> Record:
    """The record of what is said, with an id and a time where it has none. Raises as `encode`."""
    now = time.time_ns()
    if shape.key not in said:
        said[shape.key] = new_id(now)
    if "timestamp" not in said:
        said["timestamp"] = _clock(now)
    return Record(str(said[shape.key]), seal(shape.mark + _json(said)), tuple(unknown))


def seal(data: bytes) -> bytes:
    """The line that holds these bytes, which have no line break."""
    return b"%08x %b\n" % (crc32(data), data)


def unseal(line: bytes) -> bytes | None:
    """The bytes that a line without its end holds; None where it is torn or damaged."""
    data = line[CRC_LENGTH:]
    try:
        return data if data and int(line[:CRC_LENGTH], 16) == crc32(data) else None
    except ValueError:
        return None


def new_id(nanoseconds: int | None = None) -> str:
    """A UUID of version 7 (RFC 9562): ids of one time are neighbours in the server's index, which keeps it fast."""
    moment = f"{(time.time_ns() if nanoseconds is None else nanoseconds) // 1_000_000:012x}"
    chance = os.urandom(9).hex()
    return f"{moment[:8]}-{moment[8:]}-7{chance[:3]}-8{chance[3:6]}-{chance[6:]}"


def describe(error: BaseException) -> str:
    """The kind and the words of an exception, at most `MAX_ERROR` characters; never raises."""
    kind = type(error).__qualname__
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - whatever somebody's __str__ does
        words = "(its words cannot be had)"
    return (f"{kind}: {words}" if words else kind)[:MAX_ERROR]


def normal(fields: Mapping[str, object], shape: Shape) -> tuple[dict[str, object], list[str]]:
    """The fields as the server takes them, and the names it does not know."""
    said: dict[str, object] = {}
    unknown: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        limit = shape.limits.get(name)
        if limit is None:
            if name in shape.as_given:
                said[name] = value
            elif name == "timestamp":
                said[name] = _moment(value)
            else:
                unknown.append(name)
            continue
        text = value if type(value) is str else _text(value)
        if len(text) > limit or not text.isprintable():
            text = _fitting(name, text, limit, digested=name == shape.key)
        if text and not text.isspace():
            said[name] = text
    return said, unknown


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return describe(value) if isinstance(value, BaseException) else str(value)


def _fitting(name: str, text: str, limit: int, *, digested: bool) -> str:
    """Text within the server's bounds. A record's long id keeps a digest: two of them must not become one."""
    if name in LINES_ALLOWED:
        return text[:limit].replace("\0", "\ufffd")
    if digested and len(text) > limit:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        text = f"{text[: limit - len(digest) - 1]}-{digest}"
    return _CONTROL.sub("\ufffd", text[:limit])


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC).isoformat()
    return value


def _json(said: dict[str, object]) -> bytes:
    """JSON in UTF-8, where lone surrogates, which are no text, become question marks."""
    try:
        data = _encoder.encode(said).encode("utf-8", "replace")
    except Exception:
        if "metadata" not in said:
            raise
    else:
        if len(data) <= MAX_METADATA or "metadata" not in said:
            return data
    said["metadata"] = _kept(said["metadata"])
    return _encoder.encode(said).encode("utf-8", "replace")


def _kept(metadata: object) -> object:
    """Metadata that the server takes: as it is where it can be, else what was wrong with it."""
    try:
        length = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False, default=_plain))
    except Exception:  # noqa: BLE001 - circular, too deep, NaN, keys that are no text, or somebody's __str__
        return {"metadata_is_no_json": _SHORTLY.repr(metadata)}
    return metadata if length <= MAX_METADATA else {"metadata_is_too_long": length}


def _plain(value: object) -> object:  # noqa: PLR0911 - a table of types
    """What JSON has no word for, by its nearest word: numbers of other libraries stay numbers."""
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, SupportsIndex):
        return int(value)
    return float(value) if isinstance(value, SupportsFloat) else str(value)[:MAX_TEXT]


class _Clock:
    """Nanoseconds since 1970 in the words of RFC 3339; the words of one second are made once."""

    def __init__(self) -> None:
        self._latest = (-1, "")

    def __call__(self, nanoseconds: int) -> str:
        second, rest = divmod(nanoseconds, 1_000_000_000)
        latest = self._latest
        if latest[0] != second:
            latest = self._latest = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{latest[1]}.{rest // 1_000:06d}Z"


_clock = _Clock()
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
