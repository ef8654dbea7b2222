"""A scrape of 10,000 agents against prometheus_client's `generate_latest` for the same samples, in the same run.

Claims: a tenth or less of its time, and the event loop is not stalled for longer than 25 ms while the exporter is
scraped over HTTP with gzip and heartbeats go on.
"""

import asyncio
import statistics
import time
import urllib.request

import orjson
from aiohttp import ClientSession
from load import drive, exporter, post, report
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from fleetpulse.budgets import Budgets
from fleetpulse.catalogue import LOOP_LAG
from fleetpulse.config import Agents, Limits, Thresholds
from fleetpulse.fleet import Fleet
from fleetpulse.instruments import Instruments
from fleetpulse.series.agents import GAUGES, POOL_LABELS, AgentSeries
from fleetpulse.series.exposition import Exposition
from fleetpulse.series.store import SeriesStore
from fleetpulse.signals import Heartbeat

AGENTS = 10_000
ROUNDS = 9
SCRAPES = 20
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def fleet() -> Exposition:
    """An exposition with 10,000 agents, each with its six series."""
    series = AgentSeries(AGENTS)
    agents = Fleet(Agents(), Limits(), 300, series)
    for number in range(AGENTS):
        beat = Heartbeat(status="busy", cpu_usage=number % 100, memory_usage=(number * 7) % 100)
        agents.beat(f"agent-{number:05}", beat, f"pool-{number % 20}", 1_795_000_000.0 + number)
    return Exposition(SeriesStore(), series, Budgets((), "UTC"), Thresholds(), Instruments())


class Same:
    """The same samples as a prometheus_client collector."""

    def __init__(self, text: str) -> None:
        names = {gauge.name for gauge in GAUGES}
        self._families = [family for family in text_string_to_metric_families(text) if family.name in names]

    def collect(self) -> list[GaugeMetricFamily]:
        """Called by `generate_latest`."""
        return [self._family(family) for family in self._families]

    def _family(self, family: Metric) -> GaugeMetricFamily:
        made = GaugeMetricFamily(family.name, family.documentation, labels=POOL_LABELS)
        made.samples = family.samples
        return made


def rendering() -> dict[str, float]:
    """Seconds of both, interleaved, as medians."""
    ours = fleet()
    registry = CollectorRegistry()
    registry.register(Same(ours.render("")[0].decode()))
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        started = time.perf_counter()
        ours.render(OPENMETRICS)
        times["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        generate_latest(registry)
        times["theirs"].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def heartbeats(port: int) -> None:
    """Sends one heartbeat of each agent, 1,000 a request."""
    beats = [
        {
            "agent_id": f"agent-{n:05}",
            "pool_id": f"pool-{n % 20}",
            "status": "busy",
            "cpu_usage": n % 100,
            "memory_usage": 5,
        }
        for n in range(AGENTS)
    ]
    bodies = [post("/api/v1/agents/ping", orjson.dumps(beats[at : at + 1_000])) for at in range(0, AGENTS, 1_000)]
    drive(port, bodies, 1)


async def scrape(port: int) -> tuple[list[float], list[float]]:
    """Seconds of each scrape, and the loop's worst lag since the scrape before, as the exporter measured it."""
    times, lags = [], []
    async with ClientSession(headers={"Accept": OPENMETRICS, "Accept-Encoding": "gzip"}) as session:
        for _ in range(SCRAPES):
            started = time.perf_counter()
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                text = await response.text()
            times.append(time.perf_counter() - started)
            lags.append(float(text.split(f"\n{LOOP_LAG.name} ")[1].split()[0]))
            await asyncio.sleep(0.25)
    return times, lags[1:]


def main() -> None:
    """Prints one JSON line."""
    both = rendering()
    with exporter() as port:
        heartbeats(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            size = len(response.read())
        times, lags = asyncio.run(scrape(port))
    report(
        "scrape",
        agents=AGENTS,
        samples=AGENTS * len(GAUGES),
        body_bytes=size,
        ours_ms=round(both["ours"] * 1_000, 2),
        generate_latest_ms=round(both["theirs"] * 1_000, 1),
        ratio=round(both["ours"] / both["theirs"], 4),
        scrape_ms_median=round(statistics.median(times) * 1_000, 1),
        loop_stall_ms_worst=round(max(lags) * 1_000, 1),
        loop_stall_ms_median=round(statistics.median(lags) * 1_000, 1),
    )


main()
