"""Sorts attributes by what they are for: a field of a request log, metadata, or what was said to the model.

An instrumentation repeats most of its attributes, name and value, in every span. So what an attribute is for is
decided apart from any span (`judge`), and a reader may remember it.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from math import isfinite
from typing import Any, NamedTuple

import orjson

from fleetpulse.otlp.vocabulary import CONTENT, FIELDS

FOUND, KEPT, SAID, DROPPED = range(4)
# Attributes kept as metadata, and the bytes of JSON of a name and of a value. With what `calls` adds, that is less
# than MAX_METADATA_BYTES in the worst case, where a list of digits is written with a blank after each comma.
MAX_KEPT, MAX_NAME, MAX_VALUE = 24, 128, 256


class Verdict(NamedTuple):
    """What an attribute is for: one of the four above, its key there, its value, the rank of its name (0: best)."""

    use: int
    key: str
    value: Any
    rank: int = 0


class Sorted(NamedTuple):
    """An item's attributes: by field, those to keep as metadata, and what was said by name."""

    found: dict[str, Any]
    kept: dict[str, Any]
    said: dict[str, Any]


def judge(name: str, value: Any) -> Verdict:
    """What an attribute is for. Scalars and lists of them become metadata, where they are short."""
    if len(name) > MAX_NAME or value is None or value == "":
        return Verdict(DROPPED, name, None)
    use, key, rank = _use(name)
    if use == KEPT and not is_short(value):
        return Verdict(DROPPED, name, None)
    return Verdict(use, key, value, rank)


@lru_cache(maxsize=4_096)  # of names no longer than MAX_NAME
def _use(name: str) -> tuple[int, str, int]:
    """What a name is for, the key of its value, and its rank."""
    place = FIELDS.get(name)
    if place is not None:
        return FOUND, *place
    if name.startswith(CONTENT):
        return SAID, name, 0
    return KEPT if len(orjson.dumps(name)) <= MAX_NAME else DROPPED, name, 0


def sort(verdicts: Sequence[tuple[int, str, Any, int]]) -> Sorted:
    """Puts attributes in their places. Of several names for one field the best counts."""
    found: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    said: dict[str, Any] = {}
    fields = 0
    for use, key, value, _ in verdicts:
        if use == FOUND:
            found[key] = value
            fields += 1
        elif use == KEPT:
            kept[key] = value
        elif use == SAID:
            said[key] = value
    if len(found) < fields:
        ranked = sorted((each for each in verdicts if each[0] == FOUND), key=_rank, reverse=True)
        found = {key: value for _, key, value, _ in ranked}  # the best comes last
    return Sorted(found, kept if len(kept) <= MAX_KEPT else dict(islice(kept.items(), MAX_KEPT)), said)


def _rank(verdict: tuple[int, str, Any, int]) -> int:
    return verdict[3]


def is_short(value: Any) -> bool:
    """Whether a value may be metadata: a scalar or a list of scalars, short as JSON and finite."""
    if isinstance(value, list):
        return all(map(_is_scalar, value)) and len(orjson.dumps(value)) <= MAX_VALUE
    return _is_scalar(value) and (not isinstance(value, str) or len(orjson.dumps(value)) <= MAX_VALUE)


def _is_scalar(value: Any) -> bool:
    return isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)
