"""Sums over windows, asked of a real Prometheus whose past is known: each request and each scrape."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from tests.query.conftest import Remember
from tests.query.history import History, Journal, Logged, Shown, every, same, sums, traffic

from fleetpulse.errors import UpstreamError
from fleetpulse.query.figures import Covered, Gap, Summary, Timeline
from fleetpulse.query.promql import Prometheus
from fleetpulse.query.statistics import Statistics
from fleetpulse.query.windows import Window

ZONE = ZoneInfo("Asia/Kolkata")  # its hours begin at half past those of UTC
NOW = datetime(2025, 3, 12, 15, 7, 30, tzinfo=ZONE)
TODAY = Window.of("today", NOW)
YESTERDAY = Window.of("yesterday", NOW)
MIDNIGHT, N = TODAY.start.timestamp(), NOW.timestamp()
HOUR, DAY = 3_600.0, 86_400.0
SCRAPE = 200.0
Ask = Callable[..., Statistics]


@pytest.fixture
async def ask(remember: Remember) -> AsyncIterator[Ask]:
    """Statistics of a Prometheus with a past, as asked for at NOW."""
    clients = []

    def start(history: History, now: float = N, zone: ZoneInfo = ZONE) -> Statistics:
        clients.append(Prometheus(remember(history).url))
        return Statistics(clients[-1], zone, lambda: now)

    yield start
    for client in clients:
        await client.close()


def bounds(window: Window) -> tuple[float, float]:
    return window.start.timestamp(), window.end.timestamp()


def expected(shown: Sequence[Shown], window: Window, source: str | None = None) -> list[Logged]:
    return [one for each in shown for one in each.expected(*bounds(window), source)]


def is_right(answer: Summary | Timeline, shown: Sequence[Shown], source: str | None = None) -> bool:
    """Whether the sums are those of the requests; of a timeline, in every bucket too."""
    if isinstance(answer, Timeline):
        for bucket in answer.buckets:
            counted = sums(expected(shown, Window(bucket.start, bucket.end), source))
            assert same(bucket.totals, counted), (bucket, counted)
    counted = sums(expected(shown, answer.window, source))
    assert same(answer.totals, counted), (answer.totals, counted)
    return True


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, ZONE)


# An ordinary past ---------------------------------------------------------------------------------------------
async def test_sums_of_two_replicas_of_which_one_began_within_the_window(ask: Ask) -> None:
    old = Journal(traffic(1, MIDNIGHT - 30 * HOUR, N, 150))
    young = Journal(traffic(2, MIDNIGHT + 5 * HOUR, N, 60))
    shown = [
        Shown("a:1", old, every(SCRAPE, MIDNIGHT - 30 * HOUR - 12, N)),
        Shown("b:1", young, every(SCRAPE, MIDNIGHT + 5 * HOUR - 44, N)),
    ]
    statistics = ask(History(shown))
    for window in (TODAY, YESTERDAY, Window.of("7d", NOW)):
        summary = await statistics.over(window)
        assert is_right(summary, shown)
        assert summary.covered.complete
        logged = expected(shown, window)
        for groups, name in ((summary.by_source, "source"), (summary.by_model, "model")):
            assert set(groups) == {getattr(one, name) for one in logged}
            for group, totals in groups.items():
                assert same(totals, sums(one for one in logged if getattr(one, name) == group))
        for (source, status), requests in summary.by_status.items():
            assert requests == sum((one.source, one.status) == (source, status) for one in logged)
        assert sum(summary.by_status.values()) == len(logged)
        for source in ("web", "微信", 'a "b"\\c', "nobody"):
            assert is_right(await statistics.over(window, source), shown, source)
        for timeline in (await statistics.by_hour(window), await statistics.by_day(window, "web")):
            assert is_right(timeline, shown, None if len(timeline.buckets) > 10 else "web")
            assert all(bucket.complete for bucket in timeline.buckets)
            assert timeline.covered == summary.covered
    hours = (await statistics.by_hour(TODAY)).buckets
    assert [each.start.isoformat()[11:] for each in hours[:2]] == ["00:00:00+05:30", "01:00:00+05:30"]
    assert (hours[-1].start, hours[-1].end) == (NOW.replace(minute=0, second=0), NOW)


async def test_what_is_covered_are_the_scrapes_that_were_read(ask: Ask) -> None:
    scrapes = every(SCRAPE, MIDNIGHT - 3 * HOUR - 12, N)
    statistics = ask(History([Shown("a:1", Journal([Logged(MIDNIGHT - 2 * HOUR)]), scrapes)]))
    first = max(each for each in scrapes if each <= MIDNIGHT)
    summary = await statistics.over(TODAY)
    assert summary.covered == Covered(at(first), at(scrapes[-1]), complete=True)
    assert summary.totals.success_rate is None
    assert summary.totals.average_seconds is None


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2025, 3, 30, tzinfo=UTC), 23),
        ("Europe/Berlin", datetime(2025, 10, 26, tzinfo=UTC), 25),
    ],
)
async def test_days_on_which_clocks_change(ask: Ask, zone: str, day: datetime, hours: int) -> None:
    berlin = ZoneInfo(zone)
    start = datetime(day.year, day.month, day.day, tzinfo=berlin).timestamp()
    end = start + hours * HOUR
    journal = Journal([Logged(start - HOUR + 400 * number) for number in range(250)])
    shown = [Shown("a:1", journal, every(250.0, start - HOUR - 5, end + HOUR))]
    statistics = ask(History(shown), end + HOUR, berlin)
    window = Window(datetime.fromtimestamp(start, berlin), datetime.fromtimestamp(end, berlin))
    timeline = await statistics.by_hour(window)
    assert len(timeline.buckets) == hours
    assert is_right(timeline, shown)
    (whole,) = (await statistics.by_day(window)).buckets
    assert whole.totals == (await statistics.over(window)).totals
    assert whole.totals.requests in (hours * 9, hours * 9 + 1)


# Gaps ---------------------------------------------------------------------------------------------------------
async def test_a_gap_across_the_boundary_is_counted_once_and_told(ask: Ask) -> None:
    """From Friday evening to Monday morning nothing was scraped; requests went on."""
    journal = Journal(traffic(3, MIDNIGHT - 70 * HOUR, N, 120))
    before = every(SCRAPE, MIDNIGHT - 70 * HOUR, MIDNIGHT - 60 * HOUR)
    after = every(SCRAPE, MIDNIGHT + 8 * HOUR, N)
    shown = [Shown("a:1", journal, [*before, *after])]
    statistics = ask(History(shown))
    today = await statistics.over(TODAY)
    assert is_right(today, shown)
    gap = Gap({"job": "fleetpulse", "instance": "a:1"}, at(before[-1]), at(after[0]), counted=True)
    assert today.covered == Covered(at(before[-1]), at(after[-1]), complete=False, gaps=(gap,))
    assert (await statistics.over(YESTERDAY)).totals.requests == 0
    assert (await statistics.over(YESTERDAY)).covered.start is None
    hours = await statistics.by_hour(TODAY)
    assert is_right(hours, shown)
    assert [bucket.complete for bucket in hours.buckets] == [*[False] * 8, True, *[True] * 7]
    week = await statistics.by_day(Window.of("7d", NOW))
    assert is_right(week, shown)
    assert week.totals.requests == 120
    assert [bucket.complete for bucket in week.buckets] == [True, True, True, False, False, False, False]


async def test_a_gap_longer_than_the_look_back_leaves_out_what_came_in_it(ask: Ask) -> None:
    journal = Journal([Logged(MIDNIGHT - 9 * DAY), Logged(MIDNIGHT - 5 * DAY), Logged(MIDNIGHT + 10 * HOUR)])
    before = every(SCRAPE, MIDNIGHT - 9 * DAY - HOUR, MIDNIGHT - 9 * DAY + HOUR)
    after = every(SCRAPE, MIDNIGHT + 8 * HOUR, N)
    statistics = ask(History([Shown("a:1", journal, [*before, *after])]))
    today = await statistics.over(TODAY)
    assert today.totals.requests == 1
    assert today.covered.start == at(after[0])
    assert today.covered.gaps == (Gap({"job": "fleetpulse", "instance": "a:1"}, TODAY.start, at(after[0]), False),)


async def test_gaps_within_a_window_change_nothing(ask: Ask) -> None:
    """Scrapes that come and go at random, of three replicas: the sums over any window are those of the requests."""
    dice = random.Random(7)
    shown = []
    for number in range(3):
        journal = Journal(traffic(10 + number, MIDNIGHT - 20 * HOUR, N, 80))
        up = every(SCRAPE, MIDNIGHT - 22 * HOUR + 17 * number, N)
        away = [(start, start + dice.uniform(0.2, 3) * HOUR) for start in dice.sample(up, 6)]
        kept = [each for each in up if not any(start < each < end for start, end in away)]
        shown.append(Shown(f"replica-{number}:1", journal, kept))
    statistics = ask(History(shown))
    assert is_right(await statistics.over(TODAY), shown)
    assert is_right(await statistics.by_hour(TODAY), shown)
    assert is_right(await statistics.by_hour(YESTERDAY, "web"), shown, "web")
    assert is_right(await statistics.by_day(Window.of("7d", NOW)), shown)
    for _ in range(12):
        start, end = sorted(dice.uniform(MIDNIGHT - 22 * HOUR, N) for _ in range(2))
        assert is_right(await statistics.over(Window(at(round(start, 3)), at(round(end, 3)))), shown)


# Exporters that come and go -----------------------------------------------------------------------------------
async def test_an_exporter_that_is_away_is_told_from_one_that_is_gone(ask: Ask) -> None:
    stays, gone, away = (Journal(traffic(seed, MIDNIGHT - 5 * HOUR, MIDNIGHT + 6 * HOUR, 30)) for seed in (4, 5, 6))
    until = MIDNIGHT + 4 * HOUR
    shown = [
        Shown("stays:1", stays, every(SCRAPE, MIDNIGHT - 6 * HOUR, N)),
        Shown("gone:1", gone, every(SCRAPE, MIDNIGHT - 6 * HOUR, until)),
        Shown("away:1", away, every(SCRAPE, MIDNIGHT - 6 * HOUR, until)),
    ]
    failing = every(SCRAPE, until + SCRAPE, N)
    ups = [("stays:1", 1.0, shown[0].scrapes), ("away:1", 0.0, failing), ("gone:1", 1.0, shown[1].scrapes)]
    statistics = ask(History(shown, ups))
    today = await statistics.over(TODAY)
    assert is_right(today, shown)
    last = at(shown[2].scrapes[-1])
    assert today.covered.gaps == (Gap({"job": "fleetpulse", "instance": "away:1"}, last, NOW, counted=False),)
    assert not today.covered.complete
    hours = await statistics.by_hour(TODAY)
    assert is_right(hours, shown)
    assert [bucket.complete for bucket in hours.buckets] == [*[True] * 4, *[False] * 12]
    morning = Window(TODAY.start, at(until))
    assert (await statistics.over(morning)).covered.complete
    later = Window(at(N - HOUR), NOW)
    assert (await statistics.over(later)).covered.gaps == (
        Gap({"job": "fleetpulse", "instance": "away:1"}, last, NOW, False),
    )


async def test_where_prometheus_itself_stopped_nobody_is_gone(ask: Ask) -> None:
    journal = Journal(traffic(4, MIDNIGHT - 5 * HOUR, N, 30))
    shown = [Shown("a:1", journal, every(SCRAPE, MIDNIGHT - 6 * HOUR, MIDNIGHT + 4 * HOUR))]
    today = await ask(History(shown, [("a:1", 1.0, shown[0].scrapes)])).over(TODAY)
    assert is_right(today, shown)
    assert [gap.counted for gap in today.covered.gaps] == [False]


@pytest.mark.parametrize("moved", [MIDNIGHT - 2 * HOUR, MIDNIGHT - 30, MIDNIGHT + 3 * HOUR])
async def test_an_exporter_under_a_new_name_goes_on(ask: Ask, moved: float) -> None:
    """Its journal is the same, so nothing is counted twice, nor lost that came between the two."""
    journal = Journal(traffic(8, MIDNIGHT - 9 * HOUR, N, 150))
    shown = [
        Shown("old:1", journal, every(SCRAPE, MIDNIGHT - 10 * HOUR, moved)),
        Shown("new:1", journal, every(SCRAPE, moved + 6 * SCRAPE, N)),
    ]
    as_one = [Shown("", journal, [*shown[0].scrapes, *shown[1].scrapes])]
    statistics = ask(History(shown, [("new:1", 1.0, shown[1].scrapes)]))
    today = await statistics.over(TODAY)
    assert is_right(today, as_one)
    assert is_right(await statistics.by_hour(TODAY), as_one)
    assert is_right(await statistics.over(Window.of("7d", NOW)), as_one)


async def test_copies_of_a_journal_are_two_exporters(ask: Ask) -> None:
    """One was begun as a copy of the other, which goes on: what both held at first counts once."""
    common = traffic(9, MIDNIGHT - 9 * HOUR, MIDNIGHT, 60)
    first = Journal([*common, *traffic(10, MIDNIGHT, N, 40)])
    second = Journal([*common, *traffic(11, MIDNIGHT + 3 * HOUR, N, 30)])
    shown = [
        Shown("first:1", first, every(SCRAPE, MIDNIGHT - 10 * HOUR, N)),
        Shown("second:1", second, every(SCRAPE, MIDNIGHT + 3 * HOUR, N)),
    ]
    today = await ask(History(shown)).over(TODAY)
    assert today.totals.requests == 70
    assert [gap.counted for gap in today.covered.gaps] == [False]


# A Prometheus that is younger than the counters ---------------------------------------------------------------
async def test_a_younger_prometheus_counts_from_its_first_scrape_on(ask: Ask) -> None:
    """All but series that began in the window, which count from their beginning."""
    first = MIDNIGHT + 6.5 * HOUR
    logged = [Logged(MIDNIGHT - DAY)] * 10 + [Logged(MIDNIGHT + HOUR, source="new")] * 3
    logged += [Logged(MIDNIGHT + 2 * HOUR)] * 4 + [Logged(N - HOUR), Logged(N - HOUR, source="new")]
    shown = [Shown("a:1", Journal(logged), every(SCRAPE, first, N))]
    today = await ask(History(shown)).over(TODAY)
    assert {name: totals.requests for name, totals in today.by_source.items()} == {"web": 1, "new": 4}
    assert today.totals.tokens.total == 5 * 19
    gap = Gap({"job": "fleetpulse", "instance": "a:1"}, TODAY.start, at(first), counted=False)
    assert today.covered == Covered(at(first), at(shown[0].scrapes[-1]), complete=False, gaps=(gap,))
    hours = (await ask(History(shown)).by_hour(TODAY)).buckets
    assert [bucket.complete for bucket in hours[:8]] == [*[False] * 7, True]


async def test_without_created_series_only_what_was_seen_to_begin_counts_from_zero(ask: Ask) -> None:
    first = MIDNIGHT + 6 * HOUR
    logged = [Logged(MIDNIGHT + HOUR)] * 3 + [Logged(first + HOUR)] * 2 + [Logged(first + HOUR, source="new")] * 4
    shown = [Shown("a:1", Journal(logged), every(SCRAPE, first, N))]
    today = await ask(History(shown, created=False)).over(TODAY)
    assert {name: totals.requests for name, totals in today.by_source.items()} == {"web": 2, "new": 4}
    assert not today.covered.complete


async def test_without_created_series_all_else_is_as_exact(ask: Ask) -> None:
    shown = [
        Shown("a:1", Journal(traffic(20, MIDNIGHT - 9 * HOUR, N, 90)), every(SCRAPE, MIDNIGHT - 10 * HOUR, N)),
        Shown("b:1", Journal(traffic(21, MIDNIGHT + HOUR, N, 50)), every(SCRAPE, MIDNIGHT + HOUR - 1, N)),
    ]
    statistics = ask(History(shown, created=False))
    assert is_right(await statistics.over(TODAY), shown)
    assert is_right(await statistics.by_hour(TODAY), shown)
    assert (await statistics.over(TODAY)).covered.complete


# Journals that change -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("created", [True, False])
async def test_a_deleted_journal_and_a_new_one_both_count(ask: Ask, *, created: bool) -> None:
    deleted = MIDNIGHT + 5 * HOUR
    first = Journal(traffic(30, MIDNIGHT - 20 * HOUR, deleted, 120))
    second = Journal(traffic(31, deleted + HOUR, N, 90))
    shown = [
        Shown("a:1", first, every(SCRAPE, MIDNIGHT - 21 * HOUR, deleted)),
        Shown("a:1", second, every(SCRAPE, deleted + HOUR - 5, N)),
    ]
    statistics = ask(History(shown, created=created))
    assert is_right(await statistics.over(TODAY), shown)
    assert is_right(await statistics.by_hour(TODAY), shown)
    assert is_right(await statistics.over(YESTERDAY), shown)
    assert is_right(await statistics.by_day(Window.of("7d", NOW)), shown)


async def test_each_of_several_journals_counts(ask: Ask) -> None:
    """Also one that had no request, and one that is older than the window, moved here from elsewhere."""
    edges = [MIDNIGHT + hours * HOUR for hours in (-5, 2, 4, 6, 9)]
    journals = [
        Journal(traffic(40, edges[0], edges[1], 50)),
        Journal([]),
        Journal(traffic(41, edges[2] + HOUR, edges[3], 30)),
        Journal(
            [*traffic(42, MIDNIGHT - DAY, MIDNIGHT - 9 * HOUR, 70), *traffic(43, edges[3] + HOUR, edges[4], 20)]
        ),
    ]
    shown = [
        Shown("a:1", journal, every(SCRAPE, start + 600, end))
        for journal, (start, end) in zip(journals, pairwise(edges), strict=True)
    ]
    before = sums(shown[0].expected(0, MIDNIGHT)).requests
    end = edges[4] + 60
    statistics = ask(History(shown), end)
    assert (await statistics.over(Window(TODAY.start, at(end)))).totals.requests == 50 - before + 30 + 20
    from_the_empty_one = Window(at(edges[1] + HOUR), at(end))
    assert (await statistics.over(from_the_empty_one)).totals.requests == 30 + 20
    assert (await statistics.by_hour(from_the_empty_one)).totals.requests == 30 + 20


async def test_a_journal_brought_back_from_a_copy_adds_nothing_twice(ask: Ask) -> None:
    """What it lost had been counted; what it brought back is not counted again, whenever one looks."""
    logged = [Logged(MIDNIGHT - HOUR), *(Logged(MIDNIGHT + number * HOUR + 1) for number in range(6))]
    lost = MIDNIGHT + 6 * HOUR
    shown = [
        Shown("a:1", Journal(logged), every(SCRAPE, MIDNIGHT - 2 * HOUR, lost)),
        Shown("a:1", Journal([*logged[:2], *[Logged(lost + HOUR)] * 9]), every(SCRAPE, lost + 600, N)),
    ]
    statistics = ask(History(shown))
    assert (await statistics.over(TODAY)).totals.requests == 6 + 9
    assert (await statistics.by_hour(TODAY)).totals.requests == 6 + 9
    assert (await statistics.by_day(Window.of("7d", NOW))).totals.requests == 7 + 9


# Nothing to tell ----------------------------------------------------------------------------------------------
async def test_windows_without_scrapes_say_so(ask: Ask) -> None:
    shown = [Shown("a:1", Journal([Logged(N - 1000)]), every(SCRAPE, N - 2000, N))]
    statistics = ask(History(shown))
    for window in (YESTERDAY, Window(NOW, NOW)):
        summary = await statistics.over(window)
        assert summary.totals.requests == 0
        assert [*summary.by_source, *summary.by_model, *summary.by_status] == []
        assert summary.covered == Covered(None, None, complete=False)
        assert all(bucket.totals.requests == 0 for bucket in (await statistics.by_hour(window)).buckets)
    (bucket,) = (await statistics.by_day(YESTERDAY)).buckets
    assert bucket.totals.success_rate is None


async def test_a_window_that_is_not_over_is_answered_up_to_now(ask: Ask) -> None:
    shown = [Shown("a:1", Journal([Logged(N - 1000)]), every(SCRAPE, MIDNIGHT - 2000, N))]
    statistics = ask(History(shown))
    whole_day = Window(TODAY.start, at(MIDNIGHT + DAY))
    summary = await statistics.over(whole_day)
    assert summary.totals.requests == 1
    assert not summary.covered.complete
    assert (await statistics.by_hour(whole_day)).buckets[-1].end == NOW


async def test_prometheus_that_stops_is_named(remember: Remember) -> None:
    program = remember(History([Shown("a:1", Journal([Logged(N - 1000)]), every(SCRAPE, N - 2000, N))]))
    client = Prometheus(program.url)
    statistics = Statistics(client, ZONE, lambda: N)
    assert (await statistics.over(TODAY)).totals.requests == 1
    program.kill()
    for answer in (statistics.over, statistics.by_hour, statistics.by_day):
        with pytest.raises(UpstreamError, match=r"^Prometheus: cannot be reached \(Connection refused\)$"):
            await answer(TODAY)
    program.start()
    assert (await statistics.over(TODAY)).totals.requests == 1
    await client.close()
