"""When messages of a recording are due."""

import pytest
from tests.query.message_rows import message

from fleetpulse.tap.pace import LATE_SECONDS, Pace


class Timer:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def dues(pace: Pace, *clocks: float) -> list[float]:
    return [pace.due(message(number, clock=clock)) - 100.0 for number, clock in enumerate(clocks)]


@pytest.mark.parametrize(
    ("speed", "longest", "expected"),
    [
        (1.0, None, [0, 1, 1.5, 11.5]),
        (2.0, None, [0, 0.5, 0.75, 5.75]),
        (0.5, None, [0, 2, 3, 23]),
        (1.0, 2.0, [0, 1, 1.5, 3.5]),
        (2.0, 2.0, [0, 0.5, 0.75, 2.75]),
        (0.0, None, [0, 0, 0, 0]),
    ],
)
def test_pauses_are_as_they_were(speed: float, longest: float | None, expected: list[float]) -> None:
    assert dues(Pace(speed, longest, Timer()), 0.0, 1.0, 1.5, 11.5) == expected


def test_between_connections_the_time_of_day_counts() -> None:
    pace = Pace(1.0, None, Timer())
    pace.due(message(1, received_at=50.0, clock=9.0))
    assert pace.due(message(2, received_at=54.0, clock=0.0, connection="c2")) == 104.0


def test_a_time_of_day_that_was_set_back_makes_no_pause() -> None:
    pace = Pace(1.0, None, Timer())
    pace.due(message(1, received_at=50.0))
    assert pace.due(message(2, received_at=20.0, connection="c2")) == 100.0


def test_what_held_it_up_for_long_is_not_made_up_for() -> None:
    timer = Timer()
    pace = Pace(1.0, None, timer)
    assert dues(pace, 0.0, 1.0) == [0.0, 1.0]
    timer.now += 1.5
    assert pace.due(message(3, clock=1.2)) - 100.0 == pytest.approx(1.2), "a little late: it hurries"
    timer.now += 60.0
    assert pace.due(message(4, clock=1.4)) == timer.now - LATE_SECONDS


def test_it_begins_again_at_once() -> None:
    timer = Timer()
    pace = Pace(1.0, None, timer)
    dues(pace, 0.0, 100.0)
    pace.begin()
    assert pace.due(message(3, clock=5.0)) == timer.now
