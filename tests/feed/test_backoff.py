import random

from fleetpulse.feed import Backoff


def bounds(backoff: Backoff, count: int) -> list[float]:
    """The longest of many waits after each number of failures."""
    return [backoff.wait() for _ in range(count)]


class Always(random.Random):
    """Chance that always gives a share of what is possible."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._share


def test_the_bound_doubles_up_to_the_longest() -> None:
    assert bounds(Backoff(first=2, longest=75, rng=Always(1)), 8) == [2, 4, 8, 16, 32, 64, 75, 75]


def test_the_whole_of_it_is_random_from_the_first_wait_on() -> None:
    assert bounds(Backoff(rng=Always(0)), 3) == [0, 0, 0]
    waits = [Backoff(rng=random.Random(seed)).wait() for seed in range(100)]
    assert min(waits) < 0.2
    assert 1.8 < max(waits) <= 2


def test_only_a_connection_that_lasted_begins_anew() -> None:
    backoff = Backoff(first=1, stable=20, rng=Always(1))
    assert bounds(backoff, 3) == [1, 2, 4]
    backoff.lasted(19)
    assert backoff.wait() == 8
    backoff.lasted(20)
    assert backoff.wait() == 1


def test_what_the_server_asks_for_is_the_least() -> None:
    assert Backoff(rng=Always(0)).wait(asked=30) == 30
    assert Backoff(rng=Always(0)).wait(asked=10_000) == 75


def test_it_goes_on_for_ever() -> None:
    assert bounds(Backoff(rng=Always(1)), 2_000)[-1] == 75
