"""Charts as inline SVG, so that a page shows them without a script and without asking anybody.

Colours are classes (`ok`, `bad`, `money`), which the page's style sets for light, dark and paper. Every mark has a
`<title>`: what it is and how much, for the pointer and for who cannot see it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

from markupsafe import Markup, escape

WIDTH, HEIGHT = 600, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 6, 12, 28
TICKS = 4
LABELS = 12  # along the time axis at most
GAP = 0.24  # of a column's width
BAR_HEIGHT, BAR_GAP, NAME_WIDTH, FIGURE_WIDTH = 20, 11, 165, 92
NAME_CHARACTERS = 18
NARROW, WIDE = 1, 2  # a Chinese character takes the room of two others
ASCII = 0x2E80
SMALLEST = 1e-9  # what is less is nothing

Label = Callable[[float], str]


@dataclass(frozen=True)
class Slot:
    """A place on the time axis: what stands below it, what its tip says, and its stacked values from the bottom up.

    Values are None where there is nothing to tell: that time is still to come, or was not recorded.
    """

    tick: str
    tip: str
    values: tuple[float, ...] | None


@dataclass(frozen=True)
class Bar:
    """One of several horizontal bars."""

    name: str
    value: float
    label: str


def columns(title: str, slots: Sequence[Slot], classes: Sequence[str], label: Label) -> Markup:
    """Stacked columns over time; `label` writes the values of the scale."""
    scale = _scale(max((sum(slot.values) for slot in slots if slot.values), default=0.0))
    top = scale[-1]
    room = HEIGHT - TOP - BOTTOM
    width = (WIDTH - LEFT - RIGHT) / max(len(slots), 1)
    parts = [_grid(value, HEIGHT - BOTTOM - room * value / top, label(value)) for value in scale]
    every = -(-len(slots) // LABELS) or 1
    for place, slot in enumerate(slots):
        left = LEFT + place * width
        parts.append(_column(slot, left, width, room / top, classes))
        if place % every == 0:
            parts.append(_text(left + width / 2, HEIGHT - 8, slot.tick, "middle"))
    return _figure(title, WIDTH, HEIGHT, parts)


def bars(title: str, items: Sequence[Bar], kind: str) -> Markup:
    """Horizontal bars, each with its name on the left and its figure on the right."""
    longest = max((item.value for item in items), default=0.0) or 1.0
    room = WIDTH - NAME_WIDTH - FIGURE_WIDTH
    parts = []
    for place, item in enumerate(items):
        y = place * (BAR_HEIGHT + BAR_GAP) + 2
        middle = y + BAR_HEIGHT - 5
        length = max(room * item.value / longest, 1.0 if item.value else 0.0)
        rect = _rect(NAME_WIDTH, y, length, BAR_HEIGHT, kind)
        parts.append(Markup('<g class="point"><title>{}: {}</title>{}</g>').format(item.name, item.label, rect))
        parts.append(_text(NAME_WIDTH - 8, middle, _short(item.name), "end", "name"))
        parts.append(_text(NAME_WIDTH + length + 6, middle, item.label, "start", "figure"))
    return _figure(title, WIDTH, len(items) * (BAR_HEIGHT + BAR_GAP) + 4, parts)


def _column(slot: Slot, left: float, width: float, unit: float, classes: Sequence[str]) -> Markup:
    if slot.values is None:
        return Markup()
    floor_y = float(HEIGHT - BOTTOM)
    parts = [_rect(left, TOP, width, floor_y - TOP, "tip")]  # the whole height answers to the pointer
    for value, kind in zip(slot.values, classes, strict=True):
        if value > 0:
            height = value * unit
            floor_y -= height
            parts.append(_rect(left + width * GAP / 2, floor_y, width * (1 - GAP), height, kind))
    return Markup('<g class="point"><title>{}</title>{}</g>').format(slot.tip, Markup().join(parts))


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, *map(_digits, (x, y, width, height))
    )


def _grid(value: float, y: float, label: str) -> Markup:
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        "grid" if value else "axis", LEFT, WIDTH - RIGHT, _digits(y), _digits(y)
    )
    return line + _text(LEFT - 6, y + 4, label, "end")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, _digits(x), _digits(y), anchor, text
    )


def _figure(title: str, width: int, height: int, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, title)
    return head + Markup().join(parts) + Markup("</svg>")


def _scale(largest: float) -> list[float]:
    """Round values from 0 to the least one that is not below the largest."""
    if largest < SMALLEST:
        return [0.0, 1.0]
    rough = largest / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * (1 - 1e-9))
    count = -(-largest // step)
    return [step * place for place in range(int(count) + 1)]


def _short(name: str) -> str:
    room = NAME_CHARACTERS
    for place, character in enumerate(name):
        room -= NARROW if ord(character) < ASCII else WIDE
        if room < 0:
            return name[:place] + "…"
    return name


def _digits(value: float) -> str:
    return str(escape(f"{value:.2f}".rstrip("0").rstrip(".")))
