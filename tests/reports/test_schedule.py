"""When reports are due. Hand-picked cases, and laws that hold at any moment in any time zone."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.config import Reports
from fleetpulse.query.periods import KINDS, Kind
from fleetpulse.reports.schedule import Schedule, schedules

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "Asia/Shanghai", "America/St_Johns", "America/Asuncion", "Australia/Lord_Howe")
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis takes naive bounds


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("kind", "now", "latest", "first", "following"),
    [
        ("daily", "2025-05-12T07:59", "2025-05-11T08:00", "2025-05-10", "2025-05-12T08:00"),
        ("daily", "2025-05-12T08:00", "2025-05-12T08:00", "2025-05-11", "2025-05-13T08:00"),
        ("weekly", "2025-05-12T07:59", "2025-05-05T08:00", "2025-04-28", "2025-05-12T08:00"),
        ("weekly", "2025-05-12T08:01", "2025-05-12T08:00", "2025-05-05", "2025-05-19T08:00"),
        ("monthly", "2025-05-31T23:59", "2025-05-01T08:00", "2025-04-01", "2025-06-01T08:00"),
        ("monthly", "2025-03-01T07:00", "2025-02-01T08:00", "2025-01-01", "2025-03-01T08:00"),
    ],
)
def test_it_is_due_on_the_first_day_and_of_the_period_before(
    kind: Kind, now: str, latest: str, first: str, following: str
) -> None:
    schedule = Schedule(kind, time(8), BERLIN)
    assert schedule.latest(at(now)) == at(latest)
    assert schedule.period(schedule.latest(at(now))).first.isoformat() == first
    assert schedule.following(at(now)) == at(following)


def test_a_time_that_the_clocks_skip_comes_after_the_change() -> None:
    due = Schedule("daily", time(2, 30), BERLIN).latest(at("2025-03-30T12:00"))
    assert due.isoformat() == "2025-03-30T03:30:00+02:00"


def test_a_time_that_comes_twice_counts_the_first_time() -> None:
    schedule = Schedule("daily", time(2, 30), BERLIN)
    due = schedule.latest(at("2025-10-26T12:00"))
    assert due.isoformat() == "2025-10-26T02:30:00+02:00"
    assert schedule.following(due) == at("2025-10-27T02:30")


@given(st.sampled_from(KINDS), st.times(), st.sampled_from(ZONES), moments)
def test_moments_follow_each_other_and_no_period_is_left_out(
    kind: Kind, clock: time, zone: str, now: datetime
) -> None:
    schedule = Schedule(kind, clock.replace(second=0, microsecond=0), ZoneInfo(zone))
    latest, following = schedule.latest(now), schedule.following(now)
    assert latest <= now < following
    assert schedule.latest(following) == following
    assert schedule.following(latest) == following
    assert schedule.period(following).before() == schedule.period(latest)
    over = schedule.period(latest).end.astimezone(UTC)
    assert over <= latest.astimezone(UTC) < over + timedelta(days=1, hours=2)


def test_only_what_is_set_is_followed() -> None:
    settings = Reports(
        daily_at="08:00",
        monthly_at="09:30",
        smtp_host="mail",
        sender="a@example.com",
        recipients=("b@example.com",),
    )
    found = [(each.kind, each.at) for each in schedules(settings, BERLIN)]
    assert found == [("daily", time(8)), ("monthly", time(9, 30))]
    assert list(schedules(Reports(), BERLIN)) == []
