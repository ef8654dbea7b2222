"""What an entry of the catalogue is made of."""

from dataclasses import dataclass
from typing import Literal

PREFIX = "fleetpulse_"
Kind = Literal["counter", "gauge", "histogram"]

LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0)
FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROWS_BUCKETS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)


@dataclass(frozen=True)
class Metric:
    """One metric family; `name` is the family's full name as PromQL sees it (counters end in `_total`)."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    durable: bool = False


def metric(  # noqa: PLR0913 - one argument per column of the catalogue
    name: str,
    kind: Kind,
    help_text: str,
    labels: tuple[str, ...] = (),
    *,
    buckets: tuple[float, ...] = (),
    durable: bool = False,
) -> Metric:
    """A metric by the rest of its name."""
    return Metric(PREFIX + name, kind, help_text, labels, buckets, durable)
