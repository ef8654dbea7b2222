"""One function per kind of panel, with the looks all dashboards share. Each returns a panel without place or id.

Every panel has a title, a description, the data source variable, a unit, and words for "nothing to show".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    heatmap,
    piechart,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import piechart as pie

from grafana.builder.frame import SOURCE
from grafana.builder.queries import Query, query

Thresholds = Sequence[tuple[float | None, str]]
Properties = Mapping[str, Any]
CALM: Thresholds = ((None, "text"),)
MAX_HOURS = 400  # more than are asked for, so that Grafana does not widen the step on a narrow screen


class Look:
    """How a panel shows its values. `fields` are settings of single fields, by name, as Grafana calls them.

    `words` are texts, with their colors, in place of values.
    """

    def __init__(  # noqa: PLR0913 - one argument per thing people see, each by name
        self,
        unit: str,
        *,
        decimals: int | None = None,
        limits: tuple[float | None, float | None] = (None, None),
        thresholds: Thresholds = CALM,
        by_threshold: bool = True,
        nothing: str = "No data",
        fields: Mapping[str, Properties] | None = None,
        words: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.unit = unit
        self.decimals = decimals
        self.limits = limits
        self.thresholds = thresholds
        self.by_threshold = by_threshold
        self.nothing = nothing
        self.fields = fields or {}
        self.words = words or {}


def finish(
    panel: Builder[model.Panel], words: tuple[str, str], look: Look, queries: Sequence[Query]
) -> model.Panel:
    """Adds what every panel has; `words` are title and description."""
    made = panel.build()
    made.title, made.description = words
    made.datasource = SOURCE
    made.targets = [query(each, number, SOURCE).build() for number, each in enumerate(queries)]
    shown = made.field_config.defaults
    shown.unit, shown.decimals, shown.no_value = look.unit, look.decimals, look.nothing
    shown.min_val, shown.max_val = look.limits
    shown.thresholds = _thresholds(look.thresholds)
    modes = model.FieldColorModeId
    shown.color = model.FieldColor(mode=modes.THRESHOLDS if look.by_threshold else modes.PALETTE_CLASSIC_BY_NAME)
    shown.mappings = _words(look.words)
    made.field_config.overrides += [_field(name, properties) for name, properties in look.fields.items()]
    return made


def _thresholds(steps: Thresholds) -> model.ThresholdsConfig:
    listed = [model.Threshold(value=value, color=color) for value, color in steps]
    return model.ThresholdsConfig(mode=model.ThresholdsMode.ABSOLUTE, steps=listed)


def _words(words: Mapping[str, tuple[str, str]]) -> list[Any] | None:
    shown = {value: model.ValueMappingResult(text=text, color=color) for value, (text, color) in words.items()}
    return [model.ValueMap(options=shown)] if shown else None


def _field(name: str, properties: Properties) -> model.DashboardFieldConfigSourceOverrides:
    values = [model.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()]
    matcher = model.MatcherConfig(id_val="byName", options=name)
    return model.DashboardFieldConfigSourceOverrides(matcher=matcher, properties=values)


def fixed(color: str) -> Properties:
    """Field settings: one color, whatever the value."""
    return {"color": {"mode": "fixed", "fixedColor": color}}


def over(made: model.Panel, start: str) -> model.Panel:
    """The panel with a time range of its own up to now, unless the dashboard shows a fixed time of the past."""
    made.time_from = start
    return made


def card(title: str, description: str, expr: str, look: Look) -> model.Panel:
    """One number."""
    panel = stat.Panel().reduce_options(_last()).graph_mode(looks.BigValueGraphMode.NONE)
    panel = panel.color_mode(looks.BigValueColorMode.VALUE).justify_mode(looks.BigValueJustifyMode.CENTER)
    return finish(panel, (title, description), look, [Query(expr)])


def curves(title: str, description: str, queries: Sequence[Query], look: Look) -> model.Panel:
    """Lines over time; thresholds, where there are several, as dashed lines."""
    panel = _over_time().line_width(2).fill_opacity(8).show_points(looks.VisibilityMode.NEVER)
    if len(look.thresholds) > 1:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(style)
    return finish(panel, (title, description), look, queries)


def stacked_areas(title: str, description: str, queries: Sequence[Query], look: Look) -> model.Panel:
    """Areas over time, one on the other."""
    panel = _over_time().line_width(1).fill_opacity(40).show_points(looks.VisibilityMode.NEVER)
    panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    return finish(panel, (title, description), look, queries)


def stacked_bars(title: str, description: str, queries: Sequence[Query], look: Look) -> model.Panel:
    """Bars over time, one on the other, each beginning at its time."""
    panel = _over_time(["sum"]).draw_style(looks.GraphDrawStyle.BARS).bar_alignment(looks.BarAlignment.AFTER)
    panel = panel.fill_opacity(80).line_width(0).bar_width_factor(0.9)
    panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    return finish(panel, (title, description), look, queries)


def day_bars(title: str, description: str, queries: Sequence[Query], look: Look) -> model.Panel:
    """One stacked bar a day, each day named."""
    panel = barchart.Panel().stacking(looks.StackingMode.NORMAL).x_field("Time").fill_opacity(80).bar_width(0.8)
    panel = panel.show_value(looks.VisibilityMode.NEVER).legend(_legend(["sum"])).tooltip(_tooltip())
    panel = panel.x_tick_label_spacing(100).line_width(0)
    panel = panel.with_transformation(transform("joinByField", byField="Time", mode="outer"))
    panel = panel.override_by_name("Time", [model.DynamicConfigValue(id_val="unit", value="time:ddd D MMM")])
    return finish(panel, (title, description), look, queries)


def hour_bars(title: str, description: str, expr: str, look: Look) -> model.Panel:
    """One bar for each hour of the day, in the browser's time zone: what came in it on all days of the range.

    `expr` is what came in each step, without labels; a step is an hour.
    """
    name = "Messages"
    hour = {"targetField": "Time", "destinationType": "string", "dateFormat": "HH"}
    grouped = {"Time": ("groupby", []), name: ("aggregate", ["sum"])}
    fields = {each: {"operation": what, "aggregations": sums} for each, (what, sums) in grouped.items()}
    panel = barchart.Panel().x_field("Time").fill_opacity(80).bar_width(0.9).line_width(0).tooltip(_tooltip())
    panel = panel.show_value(looks.VisibilityMode.NEVER).legend(common.VizLegendOptions().show_legend(False))
    panel = panel.with_transformation(transform("convertFieldType", fields={}, conversions=[hour]))
    panel = panel.with_transformation(transform("groupBy", fields=fields))
    renamed = model.DynamicConfigValue(id_val="displayName", value=name)
    panel = panel.override_by_name(f"{name} (sum)", [renamed]).max_data_points(MAX_HOURS)
    return finish(panel, (title, description), look, [Query(expr, name, "range", "1h")])


def categories(title: str, description: str, queries: Sequence[Query], look: Look) -> model.Panel:
    """One bar for each query, named by its legend."""
    panel = barchart.Panel().x_field("Field").fill_opacity(80).bar_width(0.8).line_width(0).tooltip(_tooltip())
    panel = panel.show_value(looks.VisibilityMode.ALWAYS).legend(common.VizLegendOptions().show_legend(False))
    panel = panel.with_transformation(transform("reduce", reducers=["lastNotNull"], mode="seriesToRows"))
    return finish(panel, (title, description), look, queries)


def donut(title: str, description: str, each: Query, look: Look) -> model.Panel:
    """Shares of a whole, with a table of values and percentages."""
    legend = piechart.PieChartLegendOptions().display_mode(looks.LegendDisplayMode.TABLE).show_legend(True)
    legend = legend.placement(looks.LegendPlacement.RIGHT)
    legend = legend.values([pie.PieChartLegendValues.VALUE, pie.PieChartLegendValues.PERCENT])
    panel = piechart.Panel().pie_type(pie.PieChartType.DONUT).reduce_options(_last()).legend(legend)
    return finish(panel.tooltip(_tooltip()), (title, description), look, [each])


def bars(title: str, description: str, queries: Sequence[Query], look: Look) -> model.Panel:
    """Horizontal bars, one for each series, colored by threshold."""
    panel = bargauge.Panel().orientation(looks.VizOrientation.HORIZONTAL).reduce_options(_last())
    panel = panel.display_mode(looks.BarGaugeDisplayMode.BASIC).value_mode(looks.BarGaugeValueMode.TEXT)
    panel = panel.show_unfilled(True).min_viz_height(16).min_viz_width(8)
    return finish(panel, (title, description), look, queries)


def states(title: str, description: str, each: Query, look: Look) -> model.Panel:
    """A line for each series, colored by its state; `look.words` says what each value means."""
    panel = statetimeline.Panel().show_value(looks.VisibilityMode.NEVER).merge_values(True).row_height(0.8)
    panel = panel.legend(_legend([])).tooltip(_tooltip()).fill_opacity(80).line_width(0)
    return finish(panel, (title, description), look, [each])


def density(title: str, description: str, expr: str, look: Look) -> model.Panel:
    """A histogram over time, from classic buckets."""
    color = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    panel = heatmap.Panel().calculate(False).color(color.reverse(False).fill("blue").exponent(0.5))
    panel = panel.y_axis(heatmap.YAxisConfig().unit("s")).cell_values(heatmap.CellValues().unit(look.unit))
    panel = panel.show_tooltip().show_legend()
    return finish(panel, (title, description), look, [Query(expr, "{{le}}", kind="heatmap")])


def grid(
    words: tuple[str, str],
    labels: Mapping[str, str],
    columns: Mapping[str, str],
    look: Look,
    sort: str,
) -> model.Panel:
    """A table with a row for each combination of labels and a column for each query.

    `labels` maps label names to headings, `columns` headings to expressions; an empty heading hides
    the column. `sort` is a heading, largest first.
    """
    panel = table.Panel().show_header(True).cell_height(looks.TableCellHeight.SM)
    panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    refs = [f"Value #{chr(ord('A') + number)}" for number in range(len(columns))]
    values = dict(zip(refs if len(refs) > 1 else ["Value"], columns, strict=True))
    hidden = {"Time": True} | {name: True for name, heading in values.items() if not heading}
    names = {**labels, **{name: heading for name, heading in values.items() if heading}}
    order = {name: number for number, name in enumerate(names)}
    panel = panel.with_transformation(transform("merge"))
    panel = panel.with_transformation(
        transform("organize", excludeByName=hidden, indexByName=order, renameByName=names)
    )
    return finish(panel, words, look, [Query(expr, kind="table") for expr in columns.values()])


def firing_alerts(title: str, description: str, which: str = 'alertname!="Watchdog"') -> model.Panel:
    """Grafana's own list of the alerts that Prometheus has pending or firing. The SDK has no builder for it."""
    options = {
        "alertInstanceLabelFilter": f"{{{which}}}",
        "alertName": "",
        "dashboardAlerts": False,
        "groupBy": [],
        "groupMode": "default",
        "maxItems": 20,
        "sortOrder": 3,
        "stateFilter": {"error": True, "firing": True, "noData": False, "normal": False, "pending": True},
        "viewMode": "list",
    }
    panel = build.Panel().type("alertlist").title(title).description(description).datasource(SOURCE)
    return panel.options(options).build()


def _over_time(calculations: Sequence[str] = ("mean", "max", "lastNotNull")) -> timeseries.Panel:
    return timeseries.Panel().legend(_legend(calculations)).tooltip(_tooltip())


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _legend(calculations: Sequence[str]) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.TABLE).show_legend(True)
    return legend.placement(looks.LegendPlacement.BOTTOM).calcs(list(calculations))


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)


def transform(name: str, **options: Any) -> model.DataTransformerConfig:
    """A change to what was answered, before it is shown."""
    return model.DataTransformerConfig(id_val=name, options=options)
