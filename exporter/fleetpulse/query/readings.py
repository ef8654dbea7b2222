"""What an exporter's counters read at a moment, and the PromQL that asks for it.

A reading is of one scrape: an exporter shows all its durable series at every scrape, and their samples share its
time. So a series that is not in a reading did not exist then and stands for 0. All that a reading needs comes from
one query, so that a scrape that arrives meanwhile is in all of it or in none.

The exporter's labels are dropped or kept as asked; what is left of a series' labels names the exporter (its target:
`job`, `instance`, and whatever else Prometheus was told to add).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from fleetpulse.query.promql import Series, duration, selector

Target = tuple[tuple[str, str], ...]
PART = "part"  # the label that tells the parts of an answer apart
SCRAPE, SCRAPES, JOURNAL, STORED, RESETS = "scrape", "scrapes", "journal", "stored", "resets"
JOURNAL_SERIES = {"kind": "request", "outcome": "stored"}  # it begins with the journal's first request
OVERLAP_SECONDS = 600.0  # a counter may fall between the last scrape before a boundary and the next one


class Key(NamedTuple):
    """Which sum: its part, and the labels that were kept, empty where not. `detail` is a status or kind."""

    part: str
    source: str = ""
    model: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Reading:
    """An exporter's counters at one scrape.

    `stored` is how many requests the journal has had, None before the first. `journal` tells journals apart: it is
    when that first one came, None too where Prometheus keeps no `_created` series.
    """

    at: float
    stored: float | None = None
    journal: float | None = None
    values: Mapping[Key, float] = field(default_factory=dict)


class Part(NamedTuple):
    """A counter that is read: the suffix is that of a histogram's sum."""

    name: str
    metric: Metric
    suffix: str = ""

    @property
    def created(self) -> str:
        """The series that say when each series of the counter began (OpenMetrics)."""
        return _created(self.metric)


PARTS = (
    Part("requests", catalogue.REQUESTS),
    Part("tokens", catalogue.TOKENS),
    Part("cost", catalogue.COST),
    Part("unpriced", catalogue.UNPRICED),
    Part("priced_afterwards", catalogue.PRICED_AFTERWARDS),
    Part("seconds", catalogue.REQUEST_DURATION, "_sum"),
)
OWN = ("source", "model", "status", "kind")


@dataclass(frozen=True)
class Asking:
    """What is asked for: requests of one source or of all, summed over every label that is not in `keep`."""

    keep: Collection[str]
    source: str | None = None

    def reading(self, target: Target = (), *, since: float | None = None, width: float | None = None) -> str:
        """A query that gives readings at its time, of one target or of every one that is there.

        With `since`, without the series that began then or later. With `width`, every target that was scraped in so
        many seconds before is named, also those that have gone.
        """
        parts = [marked(part.name, self._part(part, dict(target), since)) for part in PARTS]
        parts.append(marked(SCRAPE, f"max without (version, python) (timestamp({beacon(target)}))"))
        parts += [marked(STORED, bare(stored(target))), marked(JOURNAL, bare(journal(target)))]
        if width is not None:
            counted = f"count_over_time({beacon(target)}[{duration(width)}])"
            parts.append(marked(SCRAPES, f"sum without (version, python) ({counted})"))
            fell = f"resets({stored(target)}[{duration(width + OVERLAP_SECONDS)}]) > 0"
            parts.append(marked(RESETS, bare(fell)))
        return " or ".join(parts)

    def _part(self, part: Part, matchers: dict[str, str], since: float | None) -> str:
        if self.source is not None:
            matchers = {**matchers, "source": self.source}
        series = selector(part.metric.name + part.suffix, matchers)
        if since is not None:
            series = f"({series} unless {selector(part.created, matchers)} >= {since:.3f})"
        dropped = ", ".join(label for label in part.metric.labels if label not in self.keep)
        return f"sum without ({dropped}) ({series})"


def beacon(target: Target = ()) -> str:
    """The series that every scrape of an exporter has."""
    return selector(catalogue.BUILD_INFO.name, dict(target))


def stored(target: Target = ()) -> str:
    """The series that counts the requests of a journal."""
    return selector(catalogue.SIGNALS.name, dict(target) | JOURNAL_SERIES)


def journal(target: Target = ()) -> str:
    """The series whose value tells journals apart."""
    return selector(_created(catalogue.SIGNALS), dict(target) | JOURNAL_SERIES)


def bare(expression: str) -> str:
    """The expression's series without the labels that JOURNAL_SERIES have of their own."""
    return f"max without (kind, outcome) ({expression})"


def at_each_time(answer: Iterable[Series]) -> dict[float, dict[Target, dict[Key, float]]]:
    """An answer sorted by time and target; the parts that are no sums are among the keys."""
    sorted_: dict[float, dict[Target, dict[Key, float]]] = {}
    for labels, points in answer:
        key, target = _split(labels)
        for at, value in points:
            sorted_.setdefault(at, {}).setdefault(target, {})[key] = value
    return sorted_


def reading_of(values: dict[Key, float]) -> Reading | None:
    """The reading among a target's values, None where it was not being scraped."""
    at, count, identity = (values.pop(Key(part), None) for part in (SCRAPE, STORED, JOURNAL))
    sums = {key: value for key, value in values.items() if key.part not in (SCRAPES, RESETS)}
    return None if at is None else Reading(at, count, identity, sums)


def _split(labels: dict[str, str]) -> tuple[Key, Target]:
    own = {name: labels.pop(name, "") for name in OWN}
    key = Key(labels.pop(PART, ""), own["source"], own["model"], own["status"] or own["kind"])
    labels.pop("__name__", None)
    return key, tuple(sorted(labels.items()))


def marked(part: str, expression: str) -> str:
    """The expression's series with a label that says which part of an answer they are."""
    return f'label_replace({expression}, "{PART}", "{part}", "", "")'


def _created(metric: Metric) -> str:
    return f"{metric.name.removesuffix('_total')}_created"
