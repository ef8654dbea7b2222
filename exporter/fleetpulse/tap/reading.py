"""Understands messages: what kind of message it is, who said what, where and when.

Configured paths go before the preset, and the preset's own paths before what is always so: a text without anything
in it that is known is of kind `raw` and its own text; JSON is `message` where a text was found, else `json`; bytes
that are no text are `binary` and have none. Nothing a server sends raises, and everything read is bounded.
"""

import logging
import re
from functools import cache
from typing import Any, NamedTuple

import orjson

from fleetpulse.config.tap import Paths, Source
from fleetpulse.tap.frames import BINARY, NOBODY, Frame, Read, Reading
from fleetpulse.tap.paths import Accept, Field, is_small
from fleetpulse.tap.presets import PRESETS, RAW, Opened, Preset, candidates
from fleetpulse.tap.presets.socketio import is_engine_io
from fleetpulse.tap.values import as_any_text, as_kind, as_name, as_text, as_time, bounded, is_past

MAX_PARSED = 4 * 2**20  # a longer message is raw: parsing would hold everything else up; so would many
MAX_NESTED = 20_000  # objects and arrays, each of which Python's garbage collector looks at
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
JSON_BEGINS = ("{", "[")
log = logging.getLogger(__name__)


class Fields(NamedTuple):
    """Where the fields of messages are."""

    kind: Field[str]
    user: Field[str]
    room: Field[str]
    text: Field[str]
    time: Field[float]


def _fields(place: Preset | Paths, text: Accept[str]) -> Fields:
    return Fields(
        Field(place.kind, as_kind),
        Field(place.user, as_name),
        Field(place.room, as_name),
        Field(place.text, text),
        Field(place.time, as_time),
    )


class Understood(NamedTuple):
    """A message on the way to its reading: its payload as text, and what a preset made of it."""

    payload: str
    preset: Preset
    opened: Opened

    @property
    def inner(self) -> Any:
        """What the preset's paths look into."""
        return self.opened.document if self.opened.inner is None else self.opened.inner

    @property
    def wide(self) -> bool:
        """Whether it is small enough for paths that look everywhere."""
        return is_small(self.payload)


class Reader:
    """Reads the messages of one stream; safe to call from any thread."""

    def __init__(self, source: Source) -> None:
        engine_io = source.preset == "auto" and is_engine_io(source.url)
        self._preset = "socket.io" if engine_io else source.preset
        self._stream = source.name
        self._failed = False
        self.own = _fields(source.paths, as_any_text)

    def __call__(self, frame: Frame) -> Reading:
        """What a message says; never raises."""
        try:
            understood = self.open(frame)
            return Reading("binary", NOBODY, "") if understood is None else self.read(frame, understood)
        except Exception:  # a stranger's message must not end the recording, nor fill the log
            if not self._failed:
                log.exception(
                    "stream %s: a message could not be read; others like it are not told of", self._stream
                )
            self._failed = True
            return Reading("binary" if frame.opcode == BINARY else "raw", NOBODY, "")

    def open(self, frame: Frame) -> Understood | None:
        """The payload with the first preset that takes it; None where it is no text."""
        payload = _text(frame.data)
        if payload is None:
            return None
        document = _document(payload)
        for preset in candidates(self._preset, payload, document):
            if (opened := preset.open(payload, document)) is not None:
                return Understood(payload, preset, opened)
        return Understood(payload, RAW, Opened(document))

    def read(self, frame: Frame, understood: Understood) -> Reading:
        """What a message says that `open` has opened."""
        payload, preset, opened = understood
        document, inner, wide = opened.document, understood.inner, understood.wide
        if inner is None:  # there is nothing to look into
            kind = opened.kind or default_kind(frame, understood, None)
            return Reading(kind, NOBODY, bounded(payload), opened.room)
        own, known = self.own, fields_of(preset.name)
        text = own.text.find(document, wide=wide) or known.text.find(inner, wide=wide)
        time = own.time.find(document, wide=wide) or known.time.find(inner, wide=wide)
        return Reading(
            own.kind.find(document, wide=wide)
            or opened.kind
            or known.kind.find(inner, wide=wide)
            or default_kind(frame, understood, text),
            own.user.find(document, wide=wide) or known.user.find(inner, wide=wide) or NOBODY,
            text or bounded(payload),
            own.room.find(document, wide=wide) or known.room.find(inner, wide=wide) or opened.room,
            time if time is not None and is_past(time, frame.received_at) else None,
        )


def make_read(source: Source) -> Read:
    """What reads the messages of a stream."""
    return Reader(source)


@cache
def fields_of(preset: str) -> Fields:
    """Where a preset finds the fields."""
    return _fields(PRESETS[preset], as_text)


def default_kind(frame: Frame, understood: Understood, text: str | None) -> str:
    """The kind of a message that names none."""
    if understood.opened.document is None or understood.preset is RAW:
        return "binary" if frame.opcode == BINARY else "raw"
    return "json" if text is None else "message"


def _text(data: str | bytes) -> str | None:
    if isinstance(data, str):
        return data
    if len(data) > MAX_PARSED:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if CONTROL.search(text) else text


def _document(payload: str) -> Any:
    """The object or array that a payload is; None where it is neither, or too long."""
    if payload[:1] not in JSON_BEGINS and payload[:100].lstrip()[:1] not in JSON_BEGINS:
        return None
    if len(payload) > MAX_PARSED or payload.count("{") + payload.count("[") > MAX_NESTED:
        return None
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:  # also where it is nested too deeply
        return None
