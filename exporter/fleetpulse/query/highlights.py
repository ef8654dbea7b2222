"""Where in a text the terms of a query are: offsets in the text as it is, and a piece of it for people.

Search compares texts without differences of case, width and composition, in which characters may become more or
fewer; so what was found is led back to the characters it came from.
"""

import html
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from fleetpulse.query.text import UNIT, Term, TextQuery, normalise

MAX_SPANS = 100
MAX_CHARACTERS = 100_000  # of a text that are looked at
BEFORE, LENGTH = 40, 200  # characters of a snippet before what was found first, and in all
JOINING = (("\u1160", "\u11ff"), ("\ud7b0", "\ud7ff"))  # vowels and finals of Korean join what is before them


class Span(NamedTuple):
    """A part of a text: its characters (Unicode code points) from `start` up to `end`."""

    start: int
    end: int


class _Unit(NamedTuple):
    """A unit of a normalised text, and where it begins there."""

    text: str
    start: int


def spans(query: TextQuery, text: str) -> list[Span]:
    """Where the terms are, in order and apart: the first MAX_SPANS, within the first MAX_CHARACTERS of the text."""
    text = text[:MAX_CHARACTERS]
    plain = normalise(text)
    units = [_Unit(each.group(), each.start()) for each in UNIT.finditer(plain)]
    found = [span for term in query.terms for span in islice(_finds(term, units), MAX_SPANS)]
    if found and (len(text) != len(plain) or text.casefold() != plain):
        found = _led_back(found, text, plain)
    return _apart(sorted(found))[:MAX_SPANS]


def snippet(text: str, found: Sequence[Span]) -> str:
    """A piece of a text as HTML, what was found within `<mark>`; everything else in it is escaped."""
    begin = max(0, found[0].start - BEFORE) if found else 0
    end = min(len(text), begin + LENGTH)
    parts, here = ["…" if begin else ""], begin
    for start, stop in found:
        if start >= end:
            break
        parts += [html.escape(text[here:start]), "<mark>", html.escape(text[start : min(stop, end)]), "</mark>"]
        here = min(stop, end)
    return "".join([*parts, html.escape(text[here:end]), "…" if end < len(text) else ""])


def _finds(term: Term, units: Sequence[_Unit]) -> Iterator[Span]:
    """Where a term is in the normalised text."""
    *whole, last = term.units
    count = len(whole)
    for place in range(len(units) - count):
        if all(units[place + at].text == unit for at, unit in enumerate(whole)):
            unit = units[place + count]
            if unit.text.startswith(last) if term.prefix else unit.text == last:
                yield Span(units[place].start, unit.start + len(last))


def _led_back(found: Iterable[Span], text: str, plain: str) -> list[Span]:
    """Parts of the normalised text as parts of the text; nowhere, where the two cannot be laid side by side."""
    starts = [at for at, character in enumerate(text) if not at or not _joins(character)]
    pieces = [normalise(text[start:end]) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    if "".join(pieces) != plain:
        return []
    there = list(accumulate(map(len, pieces), initial=0))
    edges = [*starts, len(text)]
    return [
        Span(edges[bisect_right(there, start) - 1], edges[bisect_right(there, end - 1)]) for start, end in found
    ]


def _joins(character: str) -> bool:
    """Whether a character may become one with what stands before it."""
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first).startswith("M") or any(low <= first <= high for low, high in JOINING)


def _apart(found: Iterable[Span]) -> list[Span]:
    """Parts that overlap or touch, as one."""
    joined: list[Span] = []
    for span in found:
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined
