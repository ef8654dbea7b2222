"""One query of a panel, as the dashboards write it, and as the SDK does."""

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode


@dataclass(frozen=True)
class Query:
    """PromQL and how to ask it: `instant` for totals, `range` for graphs, `table` and `heatmap` for those panels.

    `step` is the least step of a range query; `exemplar` also asks for single requests behind the numbers.
    """

    expr: str
    legend: str = ""
    kind: Literal["instant", "range", "table", "heatmap"] = "instant"
    step: str | None = None
    exemplar: bool = False


FORMATS = {"table": PromQueryFormat.TABLE, "heatmap": PromQueryFormat.HEATMAP}


def query(each: Query, number: int, source: model.DataSourceRef) -> prometheus.Dataquery:
    """The SDK's query; `number` counts a panel's queries from 0, and names them A, B, C and so on."""
    made = prometheus.Dataquery().expr(each.expr).ref_id(chr(ord("A") + number)).datasource(source)
    made = made.editor_mode(QueryEditorMode.CODE).legend_format(each.legend)
    made = made.format(FORMATS.get(each.kind, PromQueryFormat.TIME_SERIES)).exemplar(each.exemplar)
    made = made.instant() if each.kind in {"instant", "table"} else made.range()
    return made.interval(each.step) if each.step else made
