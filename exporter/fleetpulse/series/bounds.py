"""How a histogram is kept in the totals: the counts of each bucket alone, by upper bound, and the sum."""

from fleetpulse.catalogue import Metric


def les(metric: Metric) -> tuple[str, ...]:
    """The values of the label `le`, in order."""
    return (*(repr(bound) for bound in metric.buckets), "+Inf")


def bucket_of(metric: Metric) -> str:
    """The name of the totals of its buckets."""
    return f"{metric.name}_bucket"


def sum_of(metric: Metric) -> str:
    """The name of the total of its sum."""
    return f"{metric.name}_sum"
