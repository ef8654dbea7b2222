import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetpulse.config.tap import Reconnect
from fleetpulse.tap.backoff import Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def backoff(clock: Clock | None = None, seed: int = 1, **settings: Any) -> Backoff:
    return Backoff(Reconnect(**settings), clock or Clock(), random.Random(seed))


@pytest.mark.parametrize("seed", range(20))
def test_the_first_attempt_waits_a_random_time_up_to_its_bound(seed: int) -> None:
    assert 0 <= backoff(seed=seed, first_seconds=5).first() <= 5


def test_the_first_attempts_of_many_streams_are_spread() -> None:
    waits = sorted(backoff(seed=seed, first_seconds=5).first() for seed in range(200))
    assert waits[0] < 1
    assert waits[-1] > 4


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["failed", "short", "stable"]), max_size=60),
    st.floats(0.01, 10),
    st.floats(1, 90),
    st.integers(0, 2**16),
)
def test_a_wait_is_between_nothing_and_a_bound_that_doubles_up_to_its_cap(
    steps: list[str], base: float, cap: float, seed: int
) -> None:
    waits = backoff(seed=seed, base_seconds=base, cap_seconds=cap, stable_seconds=30)
    row = 0
    for step in steps:
        if step == "failed":
            waits.failed()
        else:
            waits.ended(30.0 if step == "stable" else 29.9)
        row = 0 if step == "stable" else row + 1
        delay = waits.wait()
        assert waits.failures == row
        assert delay is not None
        assert 0 <= delay <= min(cap, base * 2 ** max(row - 1, 0))


def test_it_gives_up_after_so_many_failures_in_a_row_and_not_earlier() -> None:
    waits = backoff(max_attempts=3)
    outcomes = []
    for _ in range(3):
        waits.failed()
        outcomes.append(waits.wait() is None)
    assert outcomes == [False, False, True]


def test_a_stable_connection_begins_anew() -> None:
    waits = backoff(max_attempts=2, stable_seconds=10)
    waits.failed()
    waits.ended(10.0)
    waits.failed()
    assert waits.wait() is not None
    waits.ended(9.0)
    assert waits.wait() is None


def test_it_gives_up_after_so_long_without_a_connection_with_a_last_attempt_at_its_end() -> None:
    clock = Clock()
    waits = backoff(clock, max_seconds=60, base_seconds=1_000, cap_seconds=1_000)
    waits.failed()
    clock.now += 59
    last = waits.wait()
    assert last is not None
    assert last <= 1
    clock.now += 1
    assert waits.wait() is None


def test_what_the_server_asks_for_is_the_least_within_an_hour() -> None:
    waits = backoff(base_seconds=0.1)
    assert 30 <= (waits.wait(30) or 0) <= 30.1
    assert 3_600 <= (waits.wait(10**9) or 0) <= 3_600.1


def test_it_does_not_come_before_it_was_asked_to_only_because_its_time_is_over() -> None:
    assert backoff(max_seconds=60).wait(61) is None
