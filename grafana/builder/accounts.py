"""The dashboard "Accounts": what group accounts do, which fail, how fast they reply, who is online.

Totals cover the chosen time range and are exact; curves of rates and quantiles are estimates. An account may report
to several replicas of the exporter: counts add up; of its state, what the replica that heard it last says counts.
"""

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
from grafana.builder.panels import Look, bars, card, curves, firing_alerts, fixed, grid, stacked_areas
from grafana.builder.promql import growth, or_zero, quantile, rate, select, total
from grafana.builder.queries import Query

ACCOUNT = ("account_id",)
NAME = "{{account_id}}"
KINDS = {
    "Messages": catalogue.ACCOUNT_MESSAGES,
    "Replies": catalogue.ACCOUNT_REPLIES,
    "Red packets": catalogue.ACCOUNT_REDPACKETS,
    "Errors": catalogue.ACCOUNT_ERRORS,
}
COLORS = {
    "Messages": fixed("blue"),
    "Replies": fixed("green"),
    "Red packets": fixed("orange"),
    "Errors": fixed("red"),
}
DEFAULTS = Thresholds()
PLAIN = Look("locale", decimals=0)
LIMITED = 20  # accounts in a list of the first ones


def accounts() -> model.Dashboard:
    """The dashboard, ready to render."""
    board = frame(
        "fleetpulse-accounts",
        "Accounts",
        "Group accounts that report to Fleetpulse: what they do, what fails, how fast they reply, who is online.",
        refresh="30s",
        start="now-6h",
    ).variables(
        [
            datasource_variable(),
            label_variable("account", "Account", catalogue.ACCOUNT_MESSAGES, "account_id"),
            *target_variables(),
        ]
    )
    made = board.build()
    made.panels = arrange((_totals(), _activity(), _failures(), _replies(), _each()))
    return made


def _totals() -> Row:
    known = or_zero(f"sum({select(catalogue.ACCOUNTS)})")
    online = f"sum({select(catalogue.ACCOUNTS, _matcher('state', 'online'))})"
    cards = (
        card("Accounts online", "Of all accounts, whatever is chosen above.", or_zero(online), PLAIN),
        card("Accounts known", "All that were heard of in the last 30 days, by default.", known, PLAIN),
        *(
            card(name, f"{name} of the chosen accounts in the time range.", or_zero(growth(metric)), PLAIN)
            for name, metric in KINDS.items()
        ),
        card(
            "Error rate",
            "Errors among all that the chosen accounts did in the time range; 50 % raise an alert, by default.",
            or_zero(_ratio(growth(catalogue.ACCOUNT_ERRORS), growth(catalogue.ACCOUNT_ACTIVITIES))),
            _share(),
        ),
        card(
            "Average reply time",
            "Of the replies of the chosen accounts in the time range whose time is known.",
            _ratio(growth(catalogue.ACCOUNT_REPLY_SECONDS), growth(catalogue.ACCOUNT_TIMED_REPLIES)),
            Look("s", decimals=2, nothing="No replies"),
        ),
    )
    return Row("In the time range", (Line(4, tuple((3, each) for each in cards)),))


def _activity() -> Row:
    rates = stacked_areas(
        "Activity",
        "Messages, replies, red packets and errors a second.",
        [_curve(name, metric) for name, metric in KINDS.items()],
        Look("none", limits=(0, None), by_threshold=False, fields=COLORS),
    )
    busiest = bars(
        "Busiest accounts",
        "All they did in the time range.",
        [_first(growth(catalogue.ACCOUNT_ACTIVITIES, by=ACCOUNT))],
        Look("locale", decimals=0, limits=(0, None), thresholds=((None, "blue"),)),
    )
    return Row("What they do", (Line(9, ((16, rates), (8, busiest))),))


def _failures() -> Row:
    rates = _ratio(rate(catalogue.ACCOUNT_ERRORS, by=ACCOUNT), rate(catalogue.ACCOUNT_ACTIVITIES, by=ACCOUNT))
    over_time = curves(
        "Error rate by account",
        "Errors among all that each account does; an estimate. Accounts without errors are left out.",
        [_curve_of(f"({rates}) > 0")],
        Look(
            "percentunit",
            decimals=0,
            limits=(0, 1),
            thresholds=((None, "transparent"), (DEFAULTS.account_error_rate, "red")),
            by_threshold=False,
            nothing="No errors",
        ),
    )
    most = bars(
        "Most errors",
        "Errors in the time range, by account.",
        [_first(f"{growth(catalogue.ACCOUNT_ERRORS, by=ACCOUNT)} > 0")],
        Look("locale", decimals=0, limits=(0, None), thresholds=((None, "red"),), nothing="No errors"),
    )
    alerts = firing_alerts("Alerts", "What is pending or firing, of everything that Fleetpulse watches.")
    return Row("What fails", (Line(9, ((10, over_time), (6, most), (8, alerts))),))


def _replies() -> Row:
    quantiles = curves(
        "Reply time quantiles",
        "Of the replies of all accounts, estimated from a histogram.",
        [_quantile(0.5), _quantile(0.95)],
        Look("s", limits=(0, None), by_threshold=False, nothing="No replies"),
    )
    by_account = _ratio(
        growth(catalogue.ACCOUNT_REPLY_SECONDS, by=ACCOUNT), growth(catalogue.ACCOUNT_TIMED_REPLIES, by=ACCOUNT)
    )
    slowest = bars(
        "Slowest accounts",
        "Average reply time in the time range.",
        [_first(by_account)],
        Look("s", decimals=2, limits=(0, None), thresholds=((None, "blue"),), nothing="No replies"),
    )
    return Row("How fast they reply", (Line(9, ((16, quantiles), (8, slowest))),))


def _each() -> Row:
    table = grid(
        ("Accounts", "The chosen accounts: what they did in the time range, and how they are now."),
        {"account_id": "Account"},
        {
            **{name: growth(metric, by=ACCOUNT) for name, metric in KINDS.items()},
            "Error rate": _ratio(
                growth(catalogue.ACCOUNT_ERRORS, by=ACCOUNT), growth(catalogue.ACCOUNT_ACTIVITIES, by=ACCOUNT)
            ),
            "Online": _newest(catalogue.ACCOUNT_ONLINE),
            "Last activity": f"time() - {total(select(catalogue.ACCOUNT_SEEN), ACCOUNT, 'max')}",
        },
        Look("none", decimals=0, nothing="-", fields=_columns()),
        sort="Messages",
    )
    return Row("Account by account", (Line(14, ((24, table),)),))


def _columns() -> dict[str, dict[str, object]]:
    """How the table shows each column."""
    states = {"0": {"text": "offline", "color": "text"}, "1": {"text": "online", "color": "green"}}
    return {
        "Error rate": {"unit": "percentunit", "decimals": 1},
        "Online": {
            "mappings": [{"type": "value", "options": states}],
            "custom.cellOptions": {"type": "color-text"},
        },
        "Last activity": {"unit": "dtdurations"},
    }


def _newest(metric: Metric) -> str:
    """What the replica says that heard the account last."""
    seen = select(catalogue.ACCOUNT_SEEN)
    heard_last = f"{seen} == on (account_id) group_left () {total(seen, ACCOUNT, 'max')}"
    return total(f"{select(metric)} and on (job, instance, account_id) ({heard_last})", ACCOUNT, "max")


def _share() -> Look:
    steps = ((None, "green"), (DEFAULTS.account_error_rate / 2, "yellow"), (DEFAULTS.account_error_rate, "red"))
    return Look("percentunit", decimals=1, thresholds=steps)


def _ratio(part: str, whole: str) -> str:
    return f"{part} / ({whole} > 0)"


def _matcher(label: str, value: str) -> str:
    return f'{label}="{value}"'


def _first(expr: str) -> Query:
    """The accounts with the largest values."""
    return Query(f"topk({LIMITED}, {expr})", NAME)


def _curve(name: str, metric: Metric) -> Query:
    return Query(rate(metric), name, "range")


def _curve_of(expr: str) -> Query:
    return Query(expr, NAME, "range")


def _quantile(share: float) -> Query:
    return Query(quantile(share, catalogue.ACCOUNT_REPLY_DURATION), f"{share:.0%}", "range")
