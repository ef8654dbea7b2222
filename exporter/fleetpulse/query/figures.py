"""What statistics say: sums of request logs, what they were asked for, and what they really cover.

Frozen values; who computes them is `statistics.py`. Sums add up: the totals of a `Summary` are the sums of its
sources and of its models, and those of a `Timeline` are the sums of its buckets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fleetpulse.query.windows import Window

SUCCESS = "success"


@dataclass(frozen=True)
class Tokens:
    """Tokens by kind. Kinds never overlap: `input` is without cached ones, `unattributed` came as a total only."""

    input: int = 0
    cached: int = 0
    output: int = 0
    unattributed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.cached + self.output + self.unattributed

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.unattributed + other.unattributed,
        )


@dataclass(frozen=True)
class Totals:
    """Sums over some requests: `seconds` of execution in all, `cost` in USD as far as it is known.

    `unpriced` requests came with an unknown cost and added nothing to `cost`; those `priced_afterwards` got one in
    this time, and it is in `cost`, whenever they came.
    """

    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    tokens: Tokens = Tokens()
    cost: float = 0.0
    unpriced: int = 0
    priced_afterwards: int = 0

    @property
    def succeeded(self) -> int:
        """Requests whose status is `success`."""
        return self.requests - self.failed

    @property
    def success_rate(self) -> float | None:
        """The succeeded share, 0 to 1; None of no requests."""
        return self.succeeded / self.requests if self.requests else None

    @property
    def average_seconds(self) -> float | None:
        """Average execution time; None of no requests."""
        return self.seconds / self.requests if self.requests else None

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.requests + other.requests,
            self.failed + other.failed,
            self.seconds + other.seconds,
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
            self.priced_afterwards + other.priced_afterwards,
        )


def added(each: Iterable[Totals]) -> Totals:
    """The sum of sums."""
    return sum(each, Totals())


@dataclass(frozen=True)
class Gap:
    """A time at an edge of the window in which an exporter was not scraped; `target` are its labels in Prometheus.

    `counted` says whether what came in it is in the sums (then they hold what came before the window too), or not.
    """

    target: Mapping[str, str]
    start: datetime
    end: datetime
    counted: bool


@dataclass(frozen=True)
class Covered:
    """What the sums really cover: from one scrape to another. None where no exporter was scraped in the window.

    `complete` says that nothing of the window is missing and nothing else is in it, but for what lies between a
    boundary and the scrape before it (at most five minutes; by default five seconds).
    """

    start: datetime | None
    end: datetime | None
    complete: bool
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class Summary:
    """Sums over a window. `by_status` counts requests by (source, status), `none` is the model of those without."""

    window: Window
    covered: Covered
    totals: Totals
    by_source: Mapping[str, Totals] = field(default_factory=dict)
    by_model: Mapping[str, Totals] = field(default_factory=dict)
    by_status: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Bucket:
    """Sums over one hour or day, as far as it lies in the window. `complete` is that of `Covered`."""

    start: datetime
    end: datetime
    totals: Totals
    complete: bool


@dataclass(frozen=True)
class Timeline:
    """Sums by hour or by day, in order and without holes: together they are the window."""

    window: Window
    covered: Covered
    buckets: tuple[Bucket, ...]

    @property
    def totals(self) -> Totals:
        """The sums over all buckets."""
        return added(bucket.totals for bucket in self.buckets)
