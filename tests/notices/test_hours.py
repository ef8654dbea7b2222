from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.config.alerting import QuietHours
from fleetpulse.notices.hours import quiet_until

BERLIN = "Europe/Berlin"
NIGHTS = QuietHours(start="22:00", end="08:00")


def moment(text: str, zone: str = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def until(text: str, *hours: QuietHours, zone: str = BERLIN) -> str | None:
    end = quiet_until(hours, zone, moment(text, zone))
    return None if end is None else f"{datetime.fromtimestamp(end, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-01-14 21:59:59", None),
        ("2026-01-14 22:00:00", "2026-01-15 08:00"),
        ("2026-01-15 03:00:00", "2026-01-15 08:00"),
        ("2026-01-15 07:59:59", "2026-01-15 08:00"),
        ("2026-01-15 08:00:00", None),
        ("2026-01-15 12:00:00", None),
        ("2026-03-28 23:00:00", "2026-03-29 08:00"),  # the clocks go ahead in this night
        ("2026-10-25 02:30:00", "2026-10-25 08:00"),  # and back in this one
    ],
)
def test_nights(now: str, end: str | None) -> None:
    assert until(now, NIGHTS) == end


def test_hours_of_a_weekday_begin_on_it() -> None:
    fridays = QuietHours(start="22:00", end="08:00", weekdays=("friday",))
    assert until("2026-01-16 23:00", fridays) == "2026-01-17 08:00"  # a Friday
    assert until("2026-01-17 07:00", fridays) == "2026-01-17 08:00"
    assert until("2026-01-17 23:00", fridays) is None
    assert until("2026-01-16 07:00", fridays) is None


def test_hours_that_follow_each_other_are_one() -> None:
    weekend = QuietHours(start="08:00", end="22:00", weekdays=("saturday", "sunday"))
    assert until("2026-01-16 22:30", NIGHTS, weekend) == "2026-01-19 08:00"


def test_hours_to_midnight_end_with_the_day() -> None:
    assert until("2026-01-16 23:30", QuietHours(start="23:00", end="00:00")) == "2026-01-17 00:00"


def test_hours_in_a_zone_of_their_own() -> None:
    shanghai = QuietHours(start="22:00", end="08:00", timezone="Asia/Shanghai")
    assert until("2026-01-14 15:30", shanghai) == "2026-01-15 01:00"
    assert until("2026-01-14 23:30", shanghai) == "2026-01-15 01:00"


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - put into zones below
    st.lists(st.tuples(st.integers(0, 95), st.integers(0, 95)).filter(lambda pair: pair[0] != pair[1]), max_size=3),
    st.sampled_from([BERLIN, "UTC", "America/Sao_Paulo", "Australia/Lord_Howe"]),
)
def test_the_end_is_later_and_no_moment_before_it_is_outside(
    now: datetime, quarters: list[tuple[int, int]], zone: str
) -> None:
    def clock(quarter: int) -> str:
        return f"{quarter // 4:02}:{quarter % 4 * 15:02}"

    hours = [QuietHours(start=clock(start), end=clock(end)) for start, end in quarters]
    begun = now.replace(tzinfo=ZoneInfo(zone)).timestamp()
    end = quiet_until(hours, zone, begun)
    if end is None:
        return
    assert end > begun
    for part in range(10):
        assert quiet_until(hours, zone, begun + (end - begun) * part / 10) is not None
