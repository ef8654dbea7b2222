"""The dashboard "Chat streams": what recorded streams say, who says it, whether anybody listens, and the backups.

Messages and hits of rules are durable, and exact; curves of rates are estimates. The exporter's own chat, a stream
by the name of `chat`, is left out: it is on "Live service". Everything adds up over the replicas chosen.
"""

from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from grafana.builder.backups import backups
from grafana.builder.frame import (
    Line,
    Row,
    arrange,
    datasource_variable,
    frame,
    label_variable,
    target_variables,
)
from grafana.builder.listening import NAME, STREAM, listening
from grafana.builder.messages import single_messages
from grafana.builder.panels import (
    Look,
    bars,
    card,
    day_bars,
    donut,
    firing_alerts,
    grid,
    hour_bars,
    over,
    stacked_areas,
    stacked_bars,
    states,
)
from grafana.builder.promql import FRESH, growth, or_nothing, or_zero, rate, select, step_growth, total
from grafana.builder.queries import Query

RECORDED = 'stream=~"$stream", stream!="chat"'
TODAY, SEVEN_DAYS, THIRTY_DAYS = "now/d", "now-6d/d", "now-29d/d"
SHOWN_USERS = 20
COUNT = Look("locale", decimals=0)
BARS = Look("locale", decimals=0, by_threshold=False, limits=(0, None), nothing="No messages")
NO_STREAMS = "No streams"
OURS = 'alertname=~"(Tap|Backup).*"'
# As numbers, since a panel shows no labels as states; the worst of several exporters counts.
STATES = {"connected": 1, "connecting": 2, "waiting": 3, "failed": 4}
STATE_WORDS = {
    "1": ("connected", "green"),
    "2": ("connecting", "yellow"),
    "3": ("waiting to try again", "orange"),
    "4": ("given up", "red"),
}


def streams() -> model.Dashboard:
    """The dashboard, ready to render."""
    board = frame(
        "fleetpulse-streams",
        "Chat streams",
        "Recorded WebSocket streams: how much is said, by whom, which rules match, and whether anybody listens.",
        refresh="10s",
        start="now-24h",
    ).variables(
        [
            datasource_variable(),
            label_variable("stream", "Stream", catalogue.TAP_UP, "stream"),
            *target_variables(),
        ]
    )
    made = board.build()
    made.panels = arrange((_now(), _when(), _who(), _traffic(), listening(), _each(), backups(), single_messages()))
    return made


def _now() -> Row:
    ever = f"last_over_time({select(catalogue.CHAT_MESSAGES, RECORDED)}[{FRESH}])"
    away = f"1 - {select(catalogue.TAP_UP)}"
    cards = (
        card("Messages", "Stored ever, those included that retention has deleted. Exact.", _sum(ever), COUNT),
        card("In the time range", "Messages stored in it. Exact.", _recorded(), COUNT),
        over(
            card("Today", "Messages since midnight, in the browser's time zone. Exact.", _recorded(), COUNT), TODAY
        ),
        card(
            "Active users",
            "Who said something in the last five minutes, by default; who speaks in two streams counts twice.",
            _sum(select(catalogue.TAP_ACTIVE_USERS)),
            COUNT,
        ),
        card(
            "Rule hits",
            "Messages of the time range that matched a rule, once for each rule. Exact.",
            _hits(),
            COUNT,
        ),
        card("Streams", "That are configured.", or_zero(f"count({select(catalogue.TAP_UP)})"), COUNT),
        card(
            "Not connected",
            "Streams without an open connection now: nothing of them is recorded.",
            _sum(away),
            Look("locale", decimals=0, thresholds=((None, "green"), (1, "red"))),
        ),
        card(
            "Last message",
            "How long ago the newest message was received, or a stream was connected that has said nothing yet.",
            f"time() - max({select(catalogue.TAP_SEEN)} > 0)",
            Look("dtdurations", nothing=NO_STREAMS),
        ),
    )
    state = states(
        "State",
        "Whether each stream is connected. Who is waiting tries again by itself; who has given up needs somebody.",
        Query(_state(), NAME, "range"),
        Look("none", words=STATE_WORDS, nothing=NO_STREAMS),
    )
    alerts = firing_alerts("Alerts", "What is pending or firing about streams, rules and backups.", OURS)
    return Row("Now", (Line(4, tuple((3, each) for each in cards)), Line(7, ((16, state), (8, alerts)))))


def _when() -> Row:
    by_day = day_bars(
        "Messages by day",
        "The last 30 days, midnight to midnight in the dashboard's time zone, by stream; today is so far. Exact.",
        [Query(step_growth(catalogue.CHAT_MESSAGES, RECORDED, by=STREAM), NAME, "range", "1d")],
        BARS,
    )
    by_hour = hour_bars(
        "Messages by hour of the day",
        "Of the last seven days, today so far among them, added up; 20 is what came from 20:00 to 21:00. Exact.",
        step_growth(catalogue.CHAT_MESSAGES, RECORDED),
        Look("locale", decimals=0, limits=(0, None), thresholds=((None, "blue"),), nothing="No messages"),
    )
    return Row("When", (Line(9, ((14, over(by_day, THIRTY_DAYS)), (10, over(by_hour, SEVEN_DAYS)))),))


def _who() -> Row:
    named = f"sort_desc(topk({SHOWN_USERS}, {total(select(catalogue.TAP_TOP_USERS), ('user_id', 'stream'))}))"
    users = bars(
        "Most active users",
        "Who said most today, in the exporter's time zone. Of each stream the exporter names only the first few.",
        [Query(named, "{{user_id}} ({{stream}})")],
        Look("locale", decimals=0, limits=(0, None), thresholds=((None, "blue"),), nothing="Nobody is named"),
    )
    rules = bars(
        "Hits by rule",
        "Messages of the time range that matched each rule. Exact.",
        [Query(f"sort_desc({growth(catalogue.TAP_RULE_HITS, by=('rule',))})", "{{rule}}")],
        Look("locale", decimals=0, limits=(0, None), thresholds=((None, "orange"),), nothing="No hits"),
    )
    hits = stacked_bars(
        "Hits by hour",
        "Messages that matched a rule, by rule; a bar begins at its time. Exact.",
        [Query(step_growth(catalogue.TAP_RULE_HITS, by=("rule",)), "{{rule}}", "range", "1h")],
        Look("locale", decimals=0, by_threshold=False, limits=(0, None), nothing="No hits"),
    )
    return Row("Who and what", (Line(9, ((8, users), (6, rules), (10, hits))),))


def _traffic() -> Row:
    rates = stacked_areas(
        "Messages a second",
        "By stream and kind; an estimate from neighboring scrapes.",
        [Query(rate(catalogue.CHAT_MESSAGES, RECORDED, by=("stream", "kind")), "{{stream}}: {{kind}}", "range")],
        Look("none", limits=(0, None), by_threshold=False, nothing="No messages"),
    )
    kinds = donut(
        "Kinds",
        "Messages of the time range by kind. Exact.",
        Query(f"{growth(catalogue.CHAT_MESSAGES, RECORDED, by=('kind',))} > 0", "{{kind}}"),
        BARS,
    )
    size = stacked_areas(
        "Bytes a second",
        "Received, decompressed, by stream.",
        [Query(or_nothing(rate(catalogue.TAP_BYTES, by=STREAM)), NAME, "range")],
        Look("Bps", limits=(0, None), by_threshold=False),
    )
    return Row("Traffic", (Line(9, ((10, rates), (6, kinds), (8, size))),))


def _each() -> Row:
    table = grid(
        ("Each stream", "What each stream said in the time range, and how it is now."),
        {"stream": "Stream"},
        {
            "State": _state(),
            "Messages": growth(catalogue.CHAT_MESSAGES, RECORDED, by=STREAM),
            "Rule hits": f"{growth(catalogue.TAP_RULE_HITS, by=STREAM)} > 0",
            "Active users": total(select(catalogue.TAP_ACTIVE_USERS), STREAM),
            "Waiting": total(select(catalogue.TAP_WAITING), STREAM),
            "Last message": f"time() - {total(f'{select(catalogue.TAP_SEEN)} > 0', STREAM, 'max')}",
        },
        Look("locale", decimals=0, nothing="-", fields=_columns()),
        sort="Messages",
    )
    return Row("Stream by stream", (Line(9, ((24, table),)),))


def _columns() -> dict[str, dict[str, object]]:
    """How the table shows its columns."""
    words = {value: {"text": text, "color": color} for value, (text, color) in STATE_WORDS.items()}
    return {
        "State": {"mappings": [{"type": "value", "options": words}], "custom.cellOptions": {"type": "color-text"}},
        "Last message": {"unit": "dtdurations"},
    }


def _state() -> str:
    """The state of each stream, as a number."""
    numbers = (f"({select(catalogue.TAP_STATE, _is(state))} == 1) * {number}" for state, number in STATES.items())
    return total(" or ".join(numbers), STREAM, "max")


def _is(state: str) -> str:
    return f'state="{state}"'


def _recorded() -> str:
    return or_zero(growth(catalogue.CHAT_MESSAGES, RECORDED))


def _hits() -> str:
    return or_zero(growth(catalogue.TAP_RULE_HITS))


def _sum(expr: str) -> str:
    return or_zero(total(expr))
