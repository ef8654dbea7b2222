"""How the dashboards ask for numbers.

Fleetpulse's durable counters never reset, so what happened in a window is a difference of two samples and exact;
`increase()` would extrapolate, and miss the value a new series starts with. Two forms of it are here:

`growth`       over the dashboard's time range, for totals. A sample before the range is looked for LOOKBACK far, so
               that a machine switched off over a weekend counts right; a series without one is new.
`step_growth`  over each step of a graph, from the step's time onward: the bar at 14:00 is what came from 14:00 to
               15:00, the last bar what came so far. After a gap of more than a day, which would show as one bar as
               high as everything ever counted, the first sample in the step takes the place of the missing one;
               unless the series began in this step: it then has fewer samples than its target has had scrapes.

Both keep the newest known value for a while after the exporter has gone. Promises: no query divides by zero, and
one that should read 0 where nothing has happened yet does (`or ZERO`), as long as the exporter is there to ask.
"""

import re
from collections.abc import Iterable

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric

LOOKBACK = "3d"
STEP_LOOKBACK = "1d"
FRESH = "1h"
TARGETS = 'job=~"$job", instance=~"$instance"'
VARIABLES = {
    "source": "source",
    "model": "model",
    "pool_id": "pool",
    "account_id": "account",
    "topic": "topic",
    "stream": "stream",
}


def select(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """A selector of the metric, filtered by every variable of the dashboards that fits its labels.

    A matcher of such a label takes the variable's place.
    """
    free = set(metric.labels) - {re.split("[=!]", each)[0] for each in matchers}
    filters = (f'{label}=~"${name}"' for label, name in VARIABLES.items() if label in free)
    return f"{metric.name}{suffix}{{{', '.join((TARGETS, *filters, *matchers))}}}"


def recorded(rule: str) -> str:
    """A selector of what one of Prometheus' recording rules says; it has added up over the replicas already."""
    return f'{rule}{{job=~"$job"}}'


def total(expr: str, by: Iterable[str] = (), operator: str = "sum") -> str:
    """An aggregation over everything but the labels in `by`."""
    labels = ", ".join(by)
    return f"{operator} by ({labels}) ({expr})" if labels else f"{operator}({expr})"


ZERO = f"0 * max(last_over_time({select(catalogue.BUILD_INFO)}[{FRESH}]))"


def or_zero(expr: str) -> str:
    """The value without labels, or 0 where there is none yet."""
    return f"({expr} or {ZERO})"


def or_nothing(expr: str) -> str:
    """What there is by label; a flat 0 without labels while there is nothing at all."""
    return f"({expr} or on () {ZERO})"


def or_none(expr: str) -> str:
    """A card's value, or -1, which is mapped to words."""
    return f"({expr} or {ZERO} - 1)"


def growth(metric: Metric, *matchers: str, by: Iterable[str] = (), suffix: str = "") -> str:
    """What a durable counter grew by in the dashboard's time range; for instant queries."""
    series = select(metric, *matchers, suffix=suffix)
    now = f"last_over_time({series}[{FRESH}])"
    before = f"last_over_time({series}[{LOOKBACK}] offset $__range)"
    return total(f"{now} - {before} >= 0 or {now}", by)


def step_growth(metric: Metric, *matchers: str, by: Iterable[str] = ()) -> str:
    """What a durable counter grew by in each step, which begins at the step's time; for range queries."""
    series = select(metric, *matchers)
    step = "[$__interval] offset -$__interval"
    now = f"last_over_time({series}{step})"
    before = f"last_over_time({series}[{STEP_LOOKBACK}])"
    scrapes = f"max by (job, instance) (sum_over_time(up{{{TARGETS}}}{step}))"
    is_old = f"(count_over_time({series}{step}) >= bool on (job, instance) group_left () {scrapes})"
    since_first = f"{now} - min_over_time({series}{step}) * {is_old}"
    known_target = f"last_over_time(up{{{TARGETS}}}[30d:5m])"
    after_gap = f"{since_first} and on (job, instance) {known_target}"
    return total(f"{now} - {before} >= 0 or {after_gap} or {now}", by)


def rate(metric: Metric, *matchers: str, by: Iterable[str] = (), suffix: str = "") -> str:
    """How fast a counter grows, a second: an estimate, for curves."""
    return total(f"rate({select(metric, *matchers, suffix=suffix)}[$__rate_interval])", by)


def quantile(share: float, metric: Metric) -> str:
    """A quantile of a histogram over time, estimated from its buckets; nothing where nothing was observed."""
    observed = f"{rate(metric, suffix='_count')} > 0"
    return f"histogram_quantile({share}, {rate(metric, by=('le',), suffix='_bucket')}) and on () {observed}"
