"""What is made of values in strangers' messages: kinds, users, rooms, texts and times, each within its bounds.

Each function gives None for what cannot be one, so that the search goes on. Bounds are those of signals.py.
"""

import re
from datetime import UTC, datetime
from typing import Any

import orjson

from fleetpulse.signals import DAY_SECONDS

KIND_CHARACTERS = 64
NAME_CHARACTERS = 200
TEXT_CHARACTERS = 8_192
CUT = "…"
SMALL = 1_000  # numbers below are codes of kinds, as Discord's op; above, they are something else
UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))  # below this, a time is in seconds, milliseconds, …
MONGO = "$date"
UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def as_kind(value: Any) -> str | None:
    """A label: at most KIND_CHARACTERS, without spaces; of numbers, small ones."""
    if type(value) is str:
        if value.isidentifier() and len(value) <= KIND_CHARACTERS:
            return value
        return UNPRINTABLE.sub("_", value.strip())[:KIND_CHARACTERS] or None
    return str(value) if type(value) is int and 0 <= value < SMALL else None


def as_name(value: Any) -> str | None:
    """A user or a room: printable, without spaces around, at most NAME_CHARACTERS."""
    if type(value) is str:
        name = value.strip()
        if not name.isprintable():
            name = UNPRINTABLE.sub(" ", name).strip()
        return name[:NAME_CHARACTERS].rstrip() or None
    return str(value) if type(value) is int else None


def as_text(value: Any) -> str | None:
    """A text, or a number as one. Empty is none."""
    if type(value) is str:
        return bounded(value) or None
    return str(value) if type(value) in (int, float) else None


def as_any_text(value: Any) -> str | None:
    """A text; of an object or an array, its JSON."""
    return bounded(as_json(value)) if type(value) in (dict, list) else as_text(value)


def as_json(value: Any) -> str:
    """A value's JSON; where it is nested deeper than can be written, only that it is."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return CUT


def bounded(text: str) -> str:
    """At most TEXT_CHARACTERS, the last of which then is CUT; without the characters that no store takes."""
    if len(text) > TEXT_CHARACTERS:
        text = text[: TEXT_CHARACTERS - 1] + CUT
    return UNSTORABLE.sub("", text) if "\0" in text or not text.isascii() else text


def as_time(value: Any) -> float | None:
    """Unix seconds of an RFC 3339 time (UTC where it names no zone), or of Unix time in s, ms, us or ns.

    MongoDB's `{"$date": …}` is one, too. Nothing before 1970.
    """
    if type(value) is dict:
        value = value.get(MONGO)
    if type(value) is str:
        return _of_text(value.strip())
    return _of_number(float(value)) if type(value) in (int, float) else None


def _of_number(number: float) -> float | None:
    for below, unit in UNITS:
        if 1 <= number < below:
            return round(number / unit, 6)
    return None


def _of_text(text: str) -> float | None:
    try:
        if text[4:5] != "-":
            return _of_number(float(text))
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def is_past(moment: float, now: float) -> bool:
    """Whether a sender's time can be: not later than a day from now, as clocks and zones are wrong by less."""
    return moment <= now + DAY_SECONDS
