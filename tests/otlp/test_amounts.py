"""Tokens and cost come to one meaning, whatever an instrumentation counts as what."""

from typing import Any

import pytest

from fleetpulse.otlp.amounts import cost, tokens

NAMES = {"i": "input_tokens", "o": "output_tokens", "c": "cached_tokens", "w": "written_tokens"} | {
    "r": "reasoning_tokens",
    "t": "tokens_used",
}


def counts(**short: Any) -> dict[str, Any]:
    return {NAMES[name]: value for name, value in short.items()}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (counts(i=10, o=5), counts(i=10, o=5)),
        (counts(i=10, o=5, c=4), counts(i=10, o=5, c=4)),
        (counts(t=15), counts(t=15)),
        # more came from the cache than went in: it was told apart
        (counts(i=10, o=5, c=40), counts(i=50, o=5, c=40)),
        (counts(i=10, o=5, c=40, w=2), counts(i=52, o=5, c=40)),
        # the total adds up only when it is added
        (counts(i=10, o=5, c=4, t=19), counts(i=14, o=5, c=4, t=19)),
        (counts(i=10, o=5, w=3, t=18), counts(i=13, o=5, t=18)),
        (counts(i=10, o=5, r=7, t=22), counts(i=10, o=12, t=22)),
        (counts(i=10, c=4, o=5, r=7, t=26), counts(i=14, o=12, c=4, t=26)),
        # it adds up as it is
        (counts(i=10, o=5, c=4, r=3, t=15), counts(i=10, o=5, c=4, t=15)),
        # it never adds up: nobody knows what the rest is
        (counts(i=10, o=5, c=4, t=100), counts(i=10, o=5, c=4, t=100)),
        ({}, {}),
    ],
)
def test_tokens(told: dict[str, int], meant: dict[str, int]) -> None:
    assert tokens(told) == meant


@pytest.mark.parametrize("odd", ["many", -1, 1.5, None, True, [1]])
def test_what_is_no_number_of_tokens_is_left_to_validation(odd: Any) -> None:
    assert tokens(counts(i=odd, c=10))["input_tokens"] is odd


@pytest.mark.parametrize(
    ("told", "usd"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": 0.25, "input_cost": 1.0}, 0.25),
        ({"input_cost": 0.25, "output_cost": 0.5}, 0.75),
        ({"input_cost": 0.25}, 0.25),
        ({"cost": 0.0}, None),
        ({"input_cost": 0, "output_cost": 0}, None),
        ({"input_cost": "cheap"}, None),
        ({}, None),
        ({"cost": -1.0}, -1.0),
    ],
)
def test_costs(told: dict[str, Any], usd: float | None) -> None:
    assert cost(told) == usd
