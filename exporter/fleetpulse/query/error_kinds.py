"""Kinds of errors: texts that differ only in what is different every time (numbers, ids) are one."""

import re
from collections.abc import Iterable

from fleetpulse.query.failures import Failure
from fleetpulse.query.report import TopError

VARYING = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"  # a UUID
    r"|\b(?=[0-9a-z_-]*[0-9])(?:req|chatcmpl|msg|run|call|trace|0x)[-_]?[0-9a-z_-]{4,}"  # ids of providers
    r"|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b"  # other hexadecimal ids
    r"|\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)


def kind(text: str) -> str:
    """The text with a mark in place of what varies."""
    return VARYING.sub("#", " ".join(text.split()))


def top_kinds(failures: Iterable[Failure], limit: int) -> list[TopError]:
    """The most frequent kinds; each goes by the commonest of its texts. `failures` come most frequent first."""
    kinds: dict[tuple[str, str], TopError] = {}
    for failure in failures:
        key = (failure.status, kind(failure.error))
        known = kinds.get(key)
        if known is None:
            kinds[key] = TopError(
                status=failure.status, error=" ".join(failure.error.split()), requests=failure.requests, texts=1
            )
        else:
            more = {"requests": known.requests + failure.requests, "texts": known.texts + 1}
            kinds[key] = known.model_copy(update=more)
    return sorted(kinds.values(), key=lambda each: (-each.requests, each.status, each.error))[:limit]
