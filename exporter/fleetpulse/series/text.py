"""The two text formats of Prometheus: how labels, values and headers are written.

Sources: Prometheus text format 0.0.4; OpenMetrics 1.0.
"""

from collections.abc import Sequence

from prometheus_client.utils import floatToGoString

from fleetpulse.catalogue import Metric

OPENMETRICS = "application/openmetrics-text"


def escape(value: str) -> str:
    """A label value between its quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def labelled(names: Sequence[str], values: Sequence[str]) -> str:
    """`{name="value",…}`, or nothing where there are no labels."""
    pairs = ",".join(f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def number(value: float) -> str:
    """A sample value: whole numbers without exponent up to 2^53, others as Go writes them."""
    if value.is_integer() and abs(value) < 2**53:
        return f"{int(value)}.0"
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # untyped in prometheus-client


def header(metric: Metric, *, openmetrics: bool) -> str:
    """HELP and TYPE lines; OpenMetrics names a counter's family without `_total`."""
    name = metric.name.removesuffix("_total") if openmetrics and metric.kind == "counter" else metric.name
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n"
