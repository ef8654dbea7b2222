"""Tells how a message is read: what was tried, in order, what each found, and what came of it."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fleetpulse.config.tap import Source
from fleetpulse.journal import rfc3339
from fleetpulse.tap.frames import Frame, Reading
from fleetpulse.tap.paths import Field
from fleetpulse.tap.presets import FIELDS
from fleetpulse.tap.reading import Reader, Understood, fields_of
from fleetpulse.tap.values import as_json, bounded, is_past

CONFIGURED, PROTOCOL, ALWAYS = "configured", "protocol", "always"
SHOWN = 120  # characters of a value in a line
TOO_LARGE = "not asked: the message holds too much for a path that looks everywhere"
FUTURE = "lies in the future: not believed"


class Tried(NamedTuple):
    """One place that was looked at for a field: whose rule it is, which, what it gave (None: nothing).

    `used`: that is the field's value. `note` says why something was not asked, or not believed.
    """

    field: str
    whose: str
    where: str
    found: str | float | None = None
    used: bool = False
    note: str = ""


class Explanation(NamedTuple):
    """How one message is read. `preset` is the one that took it; `opened` what paths looked into, as JSON."""

    preset: str
    opened: str
    tried: tuple[Tried, ...]
    reading: Reading

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON's types."""
        return {
            "preset": self.preset,
            "opened": self.opened,
            "tried": [each._asdict() for each in self.tried],
            "reading": self.reading._asdict(),
        }

    def lines(self, *, everything: bool = False) -> list[str]:
        """For the terminal: each field with its value and where it is from; with `everything`, also what failed."""
        shown = [f"preset  {self.preset}", f"message {_short(self.opened)}"]
        for name in FIELDS:
            value = _value(self.reading, name)
            shown.append(f"{name:<7} {'-' if value is None else _short(value)}{_source(self.tried, name)}")
            tried = [each for each in self.tried if each.field == name and not each.used]
            shown += [_line(each) for each in tried if everything or each.whose == CONFIGURED or each.note]
        return shown


def explain(source: Source, frame: Frame) -> Explanation:
    """How a message of a stream is read; the reading is the very one that is recorded."""
    reader = Reader(source)
    reading, understood = reader(frame), reader.open(frame)
    if understood is None:
        tried = (Tried("kind", ALWAYS, "no text", reading.kind, used=True),)
        return Explanation("none", f"{frame.size} bytes", tried, reading)
    steps = tuple(step for name in FIELDS for step in _used(name, reading, _steps(name, reader, understood, frame)))
    return Explanation(understood.preset.name, _json(understood), steps, reading)


def _steps(name: str, reader: Reader, understood: Understood, frame: Frame) -> Iterator[Tried]:
    """Everything that may give a field, in the order in which it is asked."""
    opened, wide = understood.opened, understood.wide
    yield from _asked(name, CONFIGURED, getattr(reader.own, name), opened.document, frame, wide=wide)
    if name == "kind" and opened.kind is not None:
        yield Tried(name, PROTOCOL, understood.preset.name, opened.kind)
    known = getattr(fields_of(understood.preset.name), name)
    yield from _asked(name, understood.preset.name, known, understood.inner, frame, wide=wide)
    if name == "room" and opened.room is not None:
        yield Tried(name, PROTOCOL, understood.preset.name, opened.room)
    if name == "text":
        yield Tried(name, ALWAYS, "the whole message", bounded(understood.payload))


def _asked(  # noqa: PLR0913 - what is asked of what
    name: str, whose: str, field: Field[Any], document: Any, frame: Frame, *, wide: bool
) -> Iterator[Tried]:
    for path in field.paths:
        if path.keys is None and not wide:
            yield Tried(name, whose, path.text, note=TOO_LARGE)
            continue
        found = field.first(path, document)
        late = name == "time" and found is not None and not is_past(found, frame.received_at)
        yield Tried(name, whose, path.text, found, note=FUTURE if late else "")


def _used(name: str, reading: Reading, steps: Iterator[Tried]) -> Iterator[Tried]:
    """The steps up to the one that gave the value, which is marked; of a kind that none gave, what is always so."""
    for step in steps:
        if step.found is not None:
            yield step._replace(used=not step.note)
            return
        yield step
    if name == "kind":
        yield Tried(name, ALWAYS, "no kind is named", reading.kind, used=True)


def _source(tried: Iterable[Tried], name: str) -> str:
    return "".join(f"   <- {each.whose} {each.where}" for each in tried if each.field == name and each.used)


def _value(reading: Reading, name: str) -> str | None:
    if name == "time":
        return None if reading.timestamp is None else rfc3339(reading.timestamp)
    value: str | None = getattr(reading, name)
    return value or None


def _json(understood: Understood) -> str:
    inner = understood.inner
    return understood.payload if inner is None else as_json(inner)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def _line(tried: Tried) -> str:
    return f"          {tried.whose} {tried.where}: {tried.note or 'nothing'}"
