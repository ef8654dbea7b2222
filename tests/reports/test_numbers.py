import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.query.report import Change
from fleetpulse.reports.numbers import percent, points, seconds, short, signed, usd, whole


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "$0.00"),
        (0.0042, "$0.0042"),
        (0.5576, "$0.56"),
        (12345.678, "$12,345.68"),
        (-3.5, "−$3.50"),
    ],
)
def test_money(value: float | None, text: str) -> None:
    assert usd(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.982, "98.2 %"),
        (0.999999, "99.9 %"),
        (1e-6, "< 0.1 %"),
        (1.25, "125 %"),
    ],
)
def test_shares(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text


@given(st.floats(0, 1))
def test_only_all_is_all_and_only_nothing_is_nothing(ratio: float) -> None:
    assert (percent(ratio) == "100 %") == (ratio == 1)
    assert (percent(ratio) == "0 %") == (ratio == 0)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.35, "350 ms"), (1.4, "1.40 s"), (125.2, "2 min 5 s"), (119.7, "2 min 0 s")]
)
def test_durations(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_counts() -> None:
    assert (whole(1234567), whole(-5)) == ("1,234,567", "−5")
    assert (short(3_206_000), short(32_060_000), short(1_234_000_000)) == ("3,206,000", "32.1 M", "1.2 G")


@pytest.mark.parametrize(
    ("ratio", "text"), [(None, ""), (0.123, "+12.3 %"), (-0.04, "−4 %"), (0.0, "±0 %"), (42.0, "43×")]
)
def test_changes(ratio: float | None, text: str) -> None:
    assert signed(Change(absolute=1, ratio=ratio)) == text


def test_changes_of_rates_are_points() -> None:
    assert points(Change(absolute=0.012, ratio=0.5)) == "+1.2"
    assert points(Change(absolute=-0.1, ratio=None)) == "−10.0"
