from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.errors import InvalidInputError
from fleetpulse.query.windows import RANGES, Range, Window, midnight, moment

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
NOW = datetime(2025, 4, 2, 14, 20, tzinfo=BERLIN)
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns")
DAYS_OF_ODD_LENGTH = ("Africa/Cairo", "America/Havana", "Asia/Beirut", "America/Sao_Paulo", "Pacific/Apia")


def seconds(edges: list[datetime]) -> list[float]:
    return [later.timestamp() - earlier.timestamp() for earlier, later in pairwise(edges)]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("today", "2025-04-02T00:00:00+02:00", "2025-04-02T14:20:00+02:00"),
        ("yesterday", "2025-04-01T00:00:00+02:00", "2025-04-02T00:00:00+02:00"),
        ("7d", "2025-03-27T00:00:00+01:00", "2025-04-02T14:20:00+02:00"),
        ("30d", "2025-03-04T00:00:00+01:00", "2025-04-02T14:20:00+02:00"),
    ],
)
def test_ranges_are_whole_local_days(name: Range, start: str, end: str) -> None:
    window = Window.of(name, NOW)
    assert (window.start.isoformat(), window.end.isoformat()) == (start, end)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2025-04-01", "2025-04-01T00:00:00+02:00"),
        ("2025-03-30T00:30:00Z", "2025-03-30T01:30:00+01:00"),
        ("2025-03-30t01:00z", "2025-03-30T03:00:00+02:00"),
        ("2025-04-01T00:00:00.25+08:00", "2025-03-31T18:00:00.250000+02:00"),
        ("2025-04-01T00:00:00 08:00", "2025-03-31T18:00:00+02:00"),
        ("2025-04-01 00:00:00-05:00", "2025-04-01T07:00:00+02:00"),
    ],
)
def test_times_are_read_as_they_are_written(text: str, found: str) -> None:
    assert moment("start", text, NOW).isoformat() == found


@pytest.mark.parametrize(
    ("start", "end", "loc"),
    [
        ("yesterday", None, "start"),
        ("", None, "start"),
        ("2025-02-30", None, "start"),
        ("20250401", None, "start"),
        ("2025-W14-1", None, "start"),
        ("2025-04-01T10:00:00", None, "start"),
        ("0001-01-01T00:00:00+23:59", None, "start"),
        ("1743500000", None, "start"),
        ("2025-04-03", None, "start"),
        ("2025-04-01", "2025-04-01", "end"),
        ("2025-04-02", "2025-04-01", "end"),
        ("2025-04-01", "9999-12-31T23:59:59-23:59", "end"),
        ("2024-01-01", "2025-04-01", "end"),
        ("1901-01-01", None, "end"),
    ],
)
def test_wrong_times_are_named(start: str, end: str | None, loc: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        Window.between(start, end, NOW)
    assert [error["loc"] for error in refused.value.errors] == [["query", loc]]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2025-03-30", 23),
        ("Europe/Berlin", "2025-10-26", 25),
        ("Asia/Kolkata", "2025-03-30", 24),
        ("Asia/Shanghai", "2025-03-30", 24),
    ],
)
def test_days_of_a_clock_change_have_another_number_of_hours(zone: str, day: str, hours: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    start = moment("start", day, now)
    window = Window(start, midnight(start.date() + timedelta(days=1), start))
    assert seconds(window.hours()) == [3_600.0] * hours
    assert seconds(window.days()) == [3_600.0 * hours]
    assert {edge.minute for edge in window.hours()} == {0}


def test_a_change_by_half_an_hour_makes_one_odd_hour() -> None:
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    window = Window(datetime(2025, 4, 6, tzinfo=lord_howe), datetime(2025, 4, 7, tzinfo=lord_howe))
    assert sorted(seconds(window.hours())) == [*[3_600.0] * 23, 5_400.0]


@pytest.mark.parametrize("zone", DAYS_OF_ODD_LENGTH)
def test_where_there_is_no_midnight_the_day_begins_with_the_change(zone: str) -> None:
    """Over forty years, with changes at midnight, back and forth, and a day that was left out."""
    start = datetime(1990, 1, 1, tzinfo=ZoneInfo(zone))
    edges = Window(start, datetime(2030, 1, 1, tzinfo=ZoneInfo(zone))).days()
    assert min(seconds(edges)) >= 22 * 3_600
    assert max(seconds(edges)) <= 26 * 3_600
    dates = [edge.date() for edge in edges]
    assert dates == sorted(set(dates))
    assert len(dates) >= 40 * 365 + 9
    assert {edge.hour for edge in edges} <= {0, 1}


@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - hypothesis wants them plain
    st.integers(1, 40 * 86_400_000),
)
def test_hours_and_days_are_the_window_in_order_and_without_holes(zone: str, start: datetime, length: int) -> None:
    begun = datetime.fromtimestamp(start.replace(tzinfo=ZoneInfo("UTC")).timestamp(), ZoneInfo(zone))
    window = Window(begun, datetime.fromtimestamp(begun.timestamp() + length / 1_000, ZoneInfo(zone)))
    for edges in (window.hours(), window.days()):
        assert edges[0] is window.start
        assert edges[-1] is window.end
        assert min(seconds(edges)) > 0
        assert {(edge.minute, edge.second) for edge in edges[1:-1]} <= {(0, 0)}
    assert {edge.hour for edge in window.days()[1:-1]} <= {0}


@pytest.mark.parametrize("name", RANGES)
def test_at_midnight_sharp_today_is_empty_and_all_others_are_not(name: Range) -> None:
    window = Window.of(name, datetime(2025, 4, 2, tzinfo=SHANGHAI))
    assert (window.start.timestamp() < window.end.timestamp()) == (name != "today")
