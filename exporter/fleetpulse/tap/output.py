"""What is recorded without a server, as lines: JSON for programs, text for people.

Owns how a message and what happened to its connection are written. Messages have the fields of
`/api/messages/export`, so that a tool reads both. Text for people never holds what a terminal would obey: a server
that is listened to is not trusted.
"""

import json
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from fleetpulse.journal import rfc3339
from fleetpulse.query.payloads import with_payload
from fleetpulse.tap import happenings
from fleetpulse.tap.frames import TEXT, Recorded
from fleetpulse.tap.rows import message_row

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format, lone halves, unassigned, breaks
JOINERS = "\u200c\u200d"  # inside emoji and some scripts; they move nothing


class Heard(NamedTuple):
    """A message of a stream; `keep_raw`: whether its payload goes along where the text is but a part of it."""

    stream: str
    recorded: Recorded
    keep_raw: bool = True


class Happened(NamedTuple):
    """What became of a stream's connection, at Unix seconds; kinds and details are `happenings.py`'s."""

    stream: str
    kind: str
    at: float
    detail: Mapping[str, Any] = {}


Item = Heard | Happened


Form = Callable[[Item], bytes]
"""How an item is written: one line."""


def json_line(item: Item) -> bytes:
    """One JSON object (UTF-8); `type` is `message`, or what happened: `stream_connected` and so on."""
    return as_json(as_object(item)) + b"\n"


def text_line(item: Item) -> bytes:
    """One line of text: time, stream, who, where, what."""
    return f"{words(item)}\n".encode("utf-8", "replace")


def as_object(item: Item) -> dict[str, Any]:
    """An item as JSON's types; messages as exports have them."""
    if isinstance(item, Happened):
        told = {name: value for name, value in item.detail.items() if name != "at"}
        return {"type": item.kind, "stream": item.stream, "received_at": rfc3339(item.at)} | told
    row = message_row(item.stream, item.recorded, keep_raw=item.keep_raw)
    return {"type": "message"} | with_payload(row)


def as_json(fields: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; where a text holds half of a surrogate pair, which UTF-8 cannot, in ASCII with escapes."""
    try:
        return orjson.dumps(fields)
    except TypeError:
        return json.dumps(fields).encode()


def words(item: Item) -> str:
    """An item in one line, for people."""
    if isinstance(item, Happened):
        return f"{clock_time(item.at)} {item.stream} -- {happening(item)}"
    reading, rules = item.recorded.reading, item.recorded.rules
    mark = f" [{', '.join(rules)}]" if rules else ""
    at = clock_time(item.recorded.frame.received_at)
    return f"{at} {item.stream} {harmless(reading.kind)} {speaker(item)}: {said(item)}{mark}"


def speaker(item: Heard) -> str:
    """Who said it and where; `-` where nobody is named."""
    reading = item.recorded.reading
    place = f"@{harmless(reading.room)}" if reading.room else ""
    return f"{harmless(reading.user) or '-'}{place}"


def said(item: Heard) -> str:
    """What a message says; of a binary one its size."""
    frame, reading, _ = item.recorded
    return harmless(reading.text) if reading.text or frame.opcode == TEXT else f"({frame.size:,} bytes)"


def happening(item: Happened) -> str:
    """What became of a connection, in words."""
    told = item.detail
    why = harmless(str(told.get("why", "")))
    match item.kind:
        case happenings.CONNECTED:
            without = told.get("seconds_without", 0.0)
            gap = f", after {without:.1f} s without" if without >= 1 else ""
            return f"connected to {harmless(str(told.get('url', '')))}{gap}"
        case happenings.DISCONNECTED:
            return f"disconnected: {why}; it brought {told.get('messages', 0):,} messages"
        case happenings.RETRYING:
            return f"no connection yet: {why}; it is tried again"
        case happenings.FAILED:
            return f"given up: {why}"
    return f"{item.kind} {why}".rstrip()


def harmless(text: str) -> str:
    """Text that a terminal shows and does not obey: what cannot be seen is written as an escape.

    Breaks of lines become spaces, so that a message is one line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(each) for each in text)


def clock_time(at: float) -> str:
    """Local time of day with milliseconds."""
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1_000):03}"


def _shown(character: str) -> str:
    if character in "\n\t":
        return " "
    if unicodedata.category(character) in UNSEEN and character not in JOINERS:
        return character.encode("unicode_escape").decode("ascii")
    return character
