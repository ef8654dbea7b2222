"""What the committed dashboards ask Prometheus, with Grafana's variables put in place as Grafana would.

For the tests: `parsed` and `live` ones alike run exactly what people see, read from the JSON that is shipped.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "grafana" / "dashboards"
SCRAPE_SECONDS = 5.0
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class Asked:
    """One query of one panel. `step` in seconds is of a range query; an instant one is asked at the range's end."""

    dashboard: str
    panel: str
    ref_id: str
    expr: str
    instant: bool
    step: float

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} ({self.ref_id})"


def dashboards() -> dict[str, dict[str, Any]]:
    """Each committed dashboard, by the name of its file without `.json`."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel that shows something; rows are left out."""
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def asked(range_seconds: float = 3_600.0, points: float = 240.0, **chosen: str) -> Iterator[Asked]:
    """Every query of every dashboard that Prometheus answers, over a time range, for a panel `points` wide.

    `chosen` gives variables a value other than All, as in `source="web"`.
    """
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in promql_targets(panel):
                step = max(range_seconds / points, seconds(target.get("interval", "1s")), SCRAPE_SECONDS)
                values = {**variables(dashboard), **chosen, **_own(range_seconds, step)}
                expr = interpolate(target["expr"], values)
                yield Asked(name, panel["title"], target["refId"], expr, bool(target["instant"]), step)


def promql_targets(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The queries of a panel that Prometheus answers."""
    return [target for target in panel.get("targets", []) if target["datasource"]["type"] != "loki"]


def variables(dashboard: dict[str, Any]) -> dict[str, str]:
    """The dashboard's variables as it opens: All where that is the choice."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        chosen = variable["current"]["value"]
        values[variable["name"]] = variable["allValue"] if chosen == ["$__all"] else chosen
    return values


def _own(range_seconds: float, step: float) -> dict[str, str]:
    """Grafana's own variables, as its Prometheus data source computes them."""
    return {
        "__range": f"{range_seconds:.0f}s",
        "__interval": f"{step:.0f}s",
        "__rate_interval": f"{max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS):.0f}s",
    }


def interpolate(text: str, values: dict[str, str]) -> str:
    """Puts variables in place; an unknown one is an error, which Grafana would pass on to Prometheus."""
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda match: values[match[1] or match[2]], text)


def seconds(duration: str) -> float:
    """A duration such as 5s, 1h or 1d."""
    return float(duration[:-1]) * UNITS[duration[-1]]
