"""The row about listening to streams: when there was no connection, and what could not be kept up with."""

from fleetpulse import catalogue
from grafana.builder.frame import Line, Row
from grafana.builder.panels import Look, curves
from grafana.builder.promql import or_nothing, rate, select, total
from grafana.builder.queries import Query

STREAM = ("stream",)
NAME = "{{stream}}"
RATE = Look("none", limits=(0, None), by_threshold=False)
SHARE = Look("percentunit", limits=(0, 1), by_threshold=False)


def listening() -> Row:
    """Gaps and their reasons; what waits, pauses and is lost; what is sent by itself."""
    gaps = curves(
        "Time without a connection",
        "The share of the time, by stream. What is said meanwhile is not recorded; two events bound each gap.",
        [Query(or_nothing(rate(catalogue.TAP_GAP_SECONDS, by=STREAM)), NAME, "range")],
        SHARE,
    )
    endings = curves(
        "Disconnects by reason",
        "Connections that ended and attempts that failed, a second.",
        [Query(or_nothing(rate(catalogue.TAP_DISCONNECTS, by=("reason",))), "{{reason}}", "range")],
        RATE,
    )
    waiting = curves(
        "Waiting messages",
        "Received, and to be stored yet; past its bound, reading pauses.",
        [Query(or_nothing(total(select(catalogue.TAP_WAITING), STREAM)), NAME, "range")],
        Look("locale", decimals=0, limits=(0, None), by_threshold=False),
    )
    paused = curves(
        "Reading paused",
        "The share of the time, by stream, as storing was slower. The server waits meanwhile; nothing is lost yet.",
        [Query(or_nothing(rate(catalogue.TAP_PAUSED, by=STREAM)), NAME, "range")],
        SHARE,
    )
    lost = curves(
        "Lost messages",
        "Received and not kept, a second, by reason. There should be none.",
        [Query(or_nothing(rate(catalogue.TAP_LOST, by=("stream", "reason"))), "{{stream}}: {{reason}}", "range")],
        RATE,
    )
    replies = curves(
        "Automatic replies and replays",
        "Replies a second, by outcome; recorded streams that are being played again.",
        [
            Query(or_nothing(rate(catalogue.TAP_REPLIES, by=("outcome",))), "replies {{outcome}}", "range"),
            Query(or_nothing(total(select(catalogue.TAP_REPLAYS))), "replays", "range"),
        ],
        RATE,
    )
    lines = (Line(8, ((8, gaps), (8, endings), (8, waiting))), Line(8, ((8, paused), (8, lost), (8, replies))))
    return Row("Listening", lines)
