"""The dashboard "Agent pools": which agents are there, how busy each is, and which went silent.

An agent may report to several replicas of the exporter; what the replica that heard it last says counts.
"""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from fleetpulse.config import Thresholds
from grafana.builder.frame import (
    Line,
    Row,
    arrange,
    datasource_variable,
    frame,
    label_variable,
    target_variables,
)
from grafana.builder.panels import Look, bars, card, curves, fixed, grid, stacked_areas
from grafana.builder.promql import or_zero, select, total
from grafana.builder.queries import Query

AGENT = ("pool_id", "agent_id")
NAME = "{{pool_id}} / {{agent_id}}"
STATUS_COLORS = {
    "idle": fixed("green"),
    "online": fixed("green"),
    "busy": fixed("blue"),
    "offline": fixed("text"),
    "silent": fixed("red"),
}
DEFAULTS = Thresholds()


def agents() -> model.Dashboard:
    """The dashboard, ready to render."""
    board = frame(
        "fleetpulse-agents",
        "Agent pools",
        "Worker agents that report heartbeats to Fleetpulse: who is there, how busy, and who went silent.",
        refresh="10s",
        start="now-1h",
    ).variables(
        [
            datasource_variable(),
            label_variable("pool", "Pool", catalogue.AGENTS, "pool_id"),
            _top(),
            *target_variables(),
        ]
    )
    made = board.build()
    made.panels = arrange((_now(), _load(), _tasks(), _over_time(), _status()))
    return made


def _top() -> build.CustomVariable:
    chosen = model.VariableOption(selected=True, text="20", value="20")
    choices = ("10", "20", "50", "100")
    options = [model.VariableOption(selected=each == "20", text=each, value=each) for each in choices]
    return (
        build.CustomVariable("top").label("Agents shown").values(",".join(choices)).current(chosen).options(options)
    )


def newest(metric: Metric) -> str:
    """An agent's value; of several replicas' the largest, which only differ while an agent moves."""
    return total(select(metric), AGENT, "max")


def _now() -> Row:
    counts = select(catalogue.AGENTS)
    cpu, memory = newest(catalogue.AGENT_CPU), newest(catalogue.AGENT_MEMORY)
    busy = f"{cpu} > {_threshold('cpu_critical')} or {memory} > {_threshold('memory_critical')}"
    alarming = Look("none", decimals=0, thresholds=((None, "green"), (1, "red")))
    plain = Look("locale", decimals=0)
    cards = (
        card(
            "Agents up",
            "Agents whose heartbeats arrive.",
            or_zero(f"sum({_where(counts, 'silent|offline', '!~')})"),
            Look("locale", decimals=0, thresholds=((None, "green"),)),
        ),
        card(
            "Silent",
            "Agents whose heartbeats stopped without a goodbye; 5 minutes of silence by default.",
            or_zero(f"sum({_where(counts, 'silent')})"),
            alarming,
        ),
        card(
            "Offline",
            "Agents that reported that they go offline.",
            or_zero(f"sum({_where(counts, 'offline')})"),
            plain,
        ),
        card("Agents known", "All known agents, whatever their state.", or_zero(f"sum({counts})"), plain),
        card(
            "Running tasks",
            "Tasks running on all agents of the chosen pools, by their newest heartbeats.",
            or_zero(f"sum({newest(catalogue.AGENT_TASKS)})"),
            plain,
        ),
        card(
            "Overloaded",
            "Agents whose CPU or memory is over the configured critical threshold (90 % by default).",
            or_zero(f"count({busy})"),
            alarming,
        ),
    )
    return Row("Now", (Line(4, tuple((4, each) for each in cards)),))


def _where(selector: str, statuses: str, operator: str = "=~") -> str:
    return f'{selector[:-1]}, status{operator}"{statuses}"}}'


def _threshold(name: str) -> str:
    """A configured threshold as a number."""
    matcher = f'name="{name}"'
    return f"scalar(max({select(catalogue.THRESHOLD, matcher)}))"


def _load() -> Row:
    cpu = bars(
        "CPU by agent",
        "CPU use in each agent's newest heartbeat, busiest first: green to 70 %, yellow to 90 %, red above.",
        [Query(f"topk($top, {newest(catalogue.AGENT_CPU)})", NAME)],
        _ratio(DEFAULTS.cpu_warning, DEFAULTS.cpu_critical),
    )
    memory = bars(
        "Memory by agent",
        "Memory use in each agent's newest heartbeat, fullest first: green to 70 %, yellow to 90 %, red above.",
        [Query(f"topk($top, {newest(catalogue.AGENT_MEMORY)})", NAME)],
        _ratio(DEFAULTS.memory_warning, DEFAULTS.memory_critical),
    )
    return Row("Load", (Line(10, ((12, cpu), (12, memory))),))


def _ratio(warning: float, critical: float) -> Look:
    steps = ((None, "green"), (warning, "yellow"), (critical, "red"))
    return Look("percentunit", decimals=0, limits=(0, 1), thresholds=steps, nothing="No agent is up")


def _tasks() -> Row:
    by_agent = bars(
        "Running tasks by agent",
        "Tasks running in each agent's newest heartbeat, most first.",
        [Query(f"topk($top, {newest(catalogue.AGENT_TASKS)})", NAME)],
        Look("none", decimals=0, limits=(0, None), thresholds=((None, "blue"),), nothing="No agent is up"),
    )
    by_pool = stacked_areas(
        "Running tasks by pool",
        "Tasks running over time, summed by pool.",
        [Query(total(newest(catalogue.AGENT_TASKS), ("pool_id",)), "{{pool_id}}", "range")],
        Look("none", decimals=0, limits=(0, None), by_threshold=False),
    )
    by_status = stacked_areas(
        "Agents by status",
        "How many agents there were of each status. Silent ones stopped sending heartbeats without a goodbye.",
        [Query(total(select(catalogue.AGENTS), ("status",)), "{{status}}", "range")],
        Look("none", decimals=0, limits=(0, None), by_threshold=False, fields=STATUS_COLORS),
    )
    return Row("Tasks", (Line(9, ((8, by_agent), (8, by_pool), (8, by_status))),))


def _over_time() -> Row:
    cpu = curves(
        "CPU over time",
        "CPU use by agent. Shown are those busiest at the end of the time range; Agents shown says how many.",
        [Query(_top_over_time(catalogue.AGENT_CPU), NAME, "range")],
        _ratio_curves(DEFAULTS.cpu_warning, DEFAULTS.cpu_critical),
    )
    memory = curves(
        "Memory over time",
        "Memory use by agent. Shown are those fullest at the end of the time range; Agents shown says how many.",
        [Query(_top_over_time(catalogue.AGENT_MEMORY), NAME, "range")],
        _ratio_curves(DEFAULTS.memory_warning, DEFAULTS.memory_critical),
    )
    return Row("Over time", (Line(10, ((12, cpu), (12, memory))),))


def _top_over_time(metric: Metric) -> str:
    """The same few agents at every step, those with the largest values last seen; silent ones for an hour more."""
    last = total(f"last_over_time({select(metric)}[1h] @ end())", AGENT, "max")
    return f"{newest(metric)} and on ({', '.join(AGENT)}) topk($top, {last})"


def _ratio_curves(warning: float, critical: float) -> Look:
    steps = ((None, "transparent"), (warning, "yellow"), (critical, "red"))
    return Look("percentunit", decimals=0, limits=(0, 1), thresholds=steps, by_threshold=False)


def _status() -> Row:
    age = f"time() - {newest(catalogue.AGENT_SEEN)}"
    columns = {"pool_id": "Pool", "agent_id": "Agent", "status": "Status"}
    everyone = grid(
        ("Agents", "Every agent of the chosen pools as its newest heartbeat has it. Sort by a column's heading."),
        columns,
        {
            "CPU": newest(catalogue.AGENT_CPU),
            "Memory": newest(catalogue.AGENT_MEMORY),
            "Tasks": newest(catalogue.AGENT_TASKS),
            "Last heartbeat": age,
            "": _reported(),
        },
        Look("none", decimals=0, nothing="-", fields=_columns()),
        sort="Last heartbeat",
    )
    gone = _reported('status=~"silent|offline"')
    lost = grid(
        ("Silent and offline agents", "Agents whose heartbeats do not arrive, and for how long."),
        columns,
        {"Last heartbeat": f"{gone} * on ({', '.join(AGENT)}) group_left () ({age})"},
        Look("none", decimals=0, nothing="Every agent is heard", fields=_columns()),
        sort="Last heartbeat",
    )
    return Row("Agent by agent", (Line(12, ((15, everyone), (9, lost))),))


def _reported(*matchers: str) -> str:
    """Each agent's status, as a label, where the replica that heard it last knows it."""
    agent = ", ".join(AGENT)
    heard_last = f"{select(catalogue.AGENT_SEEN)} == on ({agent}) group_left () {newest(catalogue.AGENT_SEEN)}"
    status = f"{select(catalogue.AGENT_STATUS, *matchers)} and on (job, instance, {agent}) ({heard_last})"
    return total(status, (*AGENT, "status"), "max")


def _columns() -> dict[str, dict[str, object]]:
    """How the tables show each column."""
    return {
        "Status": {"mappings": _statuses(), "custom.cellOptions": {"type": "color-text"}},
        "CPU": _bar(DEFAULTS.cpu_warning, DEFAULTS.cpu_critical),
        "Memory": _bar(DEFAULTS.memory_warning, DEFAULTS.memory_critical),
        "Last heartbeat": {"unit": "dtdurations"},
    }


def _statuses() -> list[dict[str, object]]:
    options = {name: {"color": look["color"]["fixedColor"]} for name, look in STATUS_COLORS.items()}
    return [{"type": "value", "options": options}]


def _bar(warning: float, critical: float) -> dict[str, object]:
    """A cell as a bar from 0 to 100 %."""
    steps = [{"value": None, "color": "green"}, {"value": warning, "color": "yellow"}]
    steps.append({"value": critical, "color": "red"})
    return {
        "unit": "percentunit",
        "min": 0,
        "max": 1,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds"},
        "custom.cellOptions": {"type": "gauge", "mode": "basic"},
    }
