"""Days, weeks and months of the local calendar, and what a period under way is compared with."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.query.periods import KINDS, Kind, current, period_of

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "Asia/Shanghai", "America/Asuncion", "Australia/Lord_Howe", "Africa/Cairo")
days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
kinds, zones = st.sampled_from(KINDS), st.sampled_from(ZONES).map(ZoneInfo)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("kind", "day", "first", "last"),
    [
        ("daily", "2025-05-14", "2025-05-14", "2025-05-14"),
        ("weekly", "2025-05-14", "2025-05-12", "2025-05-18"),
        ("weekly", "2025-01-01", "2024-12-30", "2025-01-05"),
        ("monthly", "2024-02-29", "2024-02-01", "2024-02-29"),
        ("monthly", "2025-12-31", "2025-12-01", "2025-12-31"),
    ],
)
def test_which_period_holds_a_day(kind: Kind, day: str, first: str, last: str) -> None:
    period = period_of(kind, date.fromisoformat(day), BERLIN)
    assert (period.first.isoformat(), period.last.isoformat()) == (first, last)


@pytest.mark.parametrize(("day", "hours"), [("2025-03-30", 23), ("2025-10-26", 25), ("2025-05-12", 24)])
def test_days_are_as_long_as_the_clocks_make_them(day: str, hours: int) -> None:
    period = period_of("daily", date.fromisoformat(day), BERLIN)
    assert period.end.timestamp() - period.start.timestamp() == hours * 3_600


@given(kinds, days, zones)
def test_periods_are_neighbours(kind: Kind, day: date, zone: ZoneInfo) -> None:
    period = period_of(kind, day, zone)
    assert period.first <= day <= period.last
    assert period.before().end == period.start
    assert period.before().after == period.first
    assert period_of(kind, period.last, zone) == period
    assert period_of(kind, period.after, zone).before() == period
    assert current(kind, period.start, zone) == period
    assert current(kind, (period.end.astimezone(UTC) - timedelta(seconds=1)), zone) == period


@pytest.mark.parametrize(
    ("kind", "now", "same"),
    [
        ("daily", "2025-05-12T14:05", "2025-05-11T14:05"),
        ("weekly", "2025-05-14T09:30", "2025-05-07T09:30"),
        ("monthly", "2025-05-12T14:05", "2025-04-12T14:05"),
        ("monthly", "2025-03-30T12:00", "2025-03-01T00:00"),  # February has no 30th: whole
        ("daily", "2025-03-31T02:30", "2025-03-30T03:30"),  # the clocks skipped it the day before
    ],
)
def test_what_has_passed_is_compared_with_the_same_part(kind: Kind, now: str, same: str) -> None:
    before = current(kind, at(now), BERLIN).before()
    assert before.same_part(at(now)).timestamp() == at(same).timestamp()


@given(kinds, zones, st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - made aware below
def test_the_same_part_lies_within(kind: Kind, zone: ZoneInfo, moment: datetime) -> None:
    now = moment.replace(tzinfo=UTC)
    before = current(kind, now, zone).before()
    part = before.same_part(now).timestamp()
    assert before.start.timestamp() - 7_200 <= part <= before.end.timestamp()
