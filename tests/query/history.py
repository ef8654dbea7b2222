"""A past for Prometheus: requests that were logged, the exporters that showed them, and a server that remembers.

What is expected of statistics is counted here from the requests and the times of the scrapes alone, not from
counters: a request counts when the first scrape after it shows it.
"""

import random
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.system.harness import Program, clean_environment, free_port
from tests.tools import need_tool, run

from fleetpulse.query.figures import Tokens, Totals

FOREVER = "20y"
LARGE = "--max-block-duration=2000h"


class Logged(NamedTuple):
    """A request log; a cost of None is unknown."""

    at: float
    source: str = "web"
    model: str = "gpt-4o"
    status: str = "success"
    seconds: float = 1.0
    tokens: tuple[int, int, int, int] = (10, 5, 3, 1)  # input, cached, output, unattributed
    cost: float | None = 0.5


@dataclass
class Journal:
    """What one exporter has stored, in order of time."""

    logged: list[Logged]

    def __post_init__(self) -> None:
        self.logged.sort()

    def samples(self, scrapes: Iterable[float]) -> Iterator[tuple[float, str, str, float, float]]:
        """Time, name, labels, value and begin of every series at each of the scrapes."""
        sums: dict[tuple[str, str], float] = defaultdict(float)
        begun: dict[tuple[str, str], float] = {}
        waiting = deque(self.logged)
        for at in scrapes:
            while waiting and waiting[0].at <= at:
                each = waiting.popleft()
                for key, value in _added(each):
                    sums[key] += value
                    begun.setdefault(key, each.at)
            for (name, labels), value in sums.items():
                yield at, name, labels, value, begun[name, labels]


def _added(each: Logged) -> Iterator[tuple[tuple[str, str], float]]:
    source = each.source.replace("\\", "\\\\").replace('"', '\\"')
    pair = f'source="{source}",model="{each.model}"'
    yield ("fleetpulse_requests_total", f'{pair},status="{each.status}"'), 1
    for kind, count in zip(("input", "cached", "output", "unattributed"), each.tokens, strict=True):
        yield ("fleetpulse_tokens_total", f'{pair},kind="{kind}"'), count
    yield ("fleetpulse_cost_usd_total", pair), each.cost or 0.0
    yield ("fleetpulse_unpriced_requests_total", pair), float(each.cost is None)
    yield ("fleetpulse_request_duration_seconds_sum", pair), each.seconds
    yield ("fleetpulse_ingest_signals_total", 'kind="request",outcome="stored"'), 1


@dataclass
class Shown:
    """An exporter, scraped at these times, that shows a journal."""

    instance: str
    journal: Journal
    scrapes: Sequence[float]

    def lines(self, *, created: bool) -> Iterator[tuple[str, str]]:
        """`(series, sample)` in order of time."""
        target = f'job="fleetpulse",instance="{self.instance}"'
        for at in self.scrapes:
            yield f'fleetpulse_build_info{{{target},version="1",python="3"}}', f"1 {at}"
        for at, name, labels, value, begun in self.journal.samples(self.scrapes):
            yield f"{name}{{{target},{labels}}}", f"{value!r} {at}"
            if created:
                base = name.removesuffix("_total").removesuffix("_sum")
                yield f"{base}_created{{{target},{labels}}}", f"{begun!r} {at}"

    def expected(self, start: float, end: float, source: str | None = None) -> list[Logged]:
        """The requests that a scrape in `(start, end]` was the first to show."""
        counted = []
        for each in self.journal.logged:
            place = bisect_left(self.scrapes, each.at)
            first = self.scrapes[place] if place < len(self.scrapes) else None
            if first is not None and start < first <= end and source in (None, each.source):
                counted.append(each)
        return counted


class Remembering(Program):
    """A Prometheus that scrapes nothing."""

    def __init__(self, folder: Path, config: Path, data: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [
            str(need_tool("prometheus")),
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--storage.tsdb.retention.time={FOREVER}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        log = folder / "prometheus.log"
        super().__init__("Prometheus", command, f"{self.url}/-/ready", log, clean_environment())


@dataclass
class History:
    """Everything that Prometheus is to remember."""

    shown: list[Shown]
    ups: list[tuple[str, float, Sequence[float]]] = field(default_factory=list)  # instance, value, times
    created: bool = True

    def text(self) -> str:
        """OpenMetrics with times; each series' samples together and in order, as they must be."""
        series: dict[str, list[str]] = defaultdict(list)
        for shown in self.shown:
            for name, sample in shown.lines(created=self.created):
                series[name].append(sample)
        for instance, value, times in self.ups:
            series[f'up{{job="fleetpulse",instance="{instance}"}}'] += [f"{value} {at}" for at in times]
        return "".join(f"{name} {sample}\n" for name in series for sample in series[name]) + "# EOF\n"

    def program(self, folder: Path) -> Remembering:
        """A Prometheus with this past, ready to be started."""
        folder.mkdir(parents=True)
        past, data, config = folder / "past.om", folder / "data", folder / "prometheus.yml"
        past.write_text(self.text())
        config.write_text("global: {}\n")
        # Few large blocks: promtool reads the whole file once for each.
        run("promtool", "tsdb", "create-blocks-from", LARGE, "openmetrics", "--quiet", past, data)
        return Remembering(folder, config, data)


def every(seconds: float, start: float, end: float) -> list[float]:
    """Times from `start` up to `end`."""
    return [start + seconds * number for number in range(int((end - start) // seconds) + 1)]


def traffic(seed: int, start: float, end: float, count: int) -> list[Logged]:
    """Requests of some sources, models and outcomes at any times; series begin whenever their first comes."""
    dice = random.Random(seed)
    return [
        Logged(
            dice.uniform(start, end),
            dice.choice(["web", "telegram", "微信", 'a "b"\\c']),
            dice.choice(["gpt-4o", "claude-3-5-haiku-latest", "none"]),
            dice.choice(["success", "success", "success", "error", "timeout"]),
            dice.uniform(0.1, 9.0),
            (dice.randrange(900), dice.randrange(90), dice.randrange(400), dice.randrange(3)),
            dice.choice([None, dice.uniform(0, 0.2), dice.uniform(0, 0.2)]),
        )
        for _ in range(count)
    ]


def sums(logged: Iterable[Logged]) -> Totals:
    """What requests add up to, counted one by one."""
    each = list(logged)
    return Totals(
        requests=len(each),
        failed=sum(one.status != "success" for one in each),
        seconds=sum(one.seconds for one in each),
        tokens=Tokens(*(sum(one.tokens[kind] for one in each) for kind in range(4))),
        cost=sum(one.cost or 0.0 for one in each),
        unpriced=sum(one.cost is None for one in each),
    )


def same(found: Totals, expected: Totals) -> bool:
    """Whether sums agree: counts exactly, floats but for rounding."""
    close = abs(found.cost - expected.cost) < 1e-6 and abs(found.seconds - expected.seconds) < 1e-6
    counts = [(one.requests, one.failed, one.tokens, one.unpriced) for one in (found, expected)]
    return close and counts[0] == counts[1]
