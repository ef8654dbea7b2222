from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetpulse.errors import InvalidInputError
from fleetpulse.replay.pace import FLUSH_SECONDS, Batch, Pace, parse_speed
from fleetpulse.replay.shape import format_time

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def rows(*offsets: float | None) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, offset in enumerate(offsets):
        stamp = None if offset is None else format_time(START + timedelta(seconds=offset))
        yield number, {"timestamp": stamp} if stamp else {}


async def played(pace: Pace, clock: Clock, *offsets: float | None) -> list[tuple[float, list[int]]]:
    return [(clock.now - 100.0, batch.numbers) async for batch in pace.batches(rows(*offsets))]


def pace_of(speed: float | None, clock: Clock, batch_rows: int = 1_000) -> Pace:
    return Pace(speed, batch_rows=batch_rows, clock=clock, sleep=clock.sleep)


async def test_at_max_speed_rows_are_cut_by_size_alone() -> None:
    clock = Clock()
    assert await played(pace_of(None, clock, 2), clock, 0, 60, 120, 180, 240) == [
        (0, [0, 1]),
        (0, [2, 3]),
        (0, [4]),
    ]


async def test_no_row_is_early_and_none_later_than_a_flush() -> None:
    clock = Clock()
    offsets = [number * 7.0 for number in range(200)]
    sent = await played(pace_of(60.0, clock), clock, *offsets)
    assert [number for _, numbers in sent for number in numbers] == list(range(200))
    for moment, numbers in sent:
        for number in numbers:
            assert 0 <= moment - offsets[number] / 60.0 <= FLUSH_SECONDS + 1e-6


async def test_a_long_pause_is_slept_through_at_once() -> None:
    clock = Clock()
    assert await played(pace_of(60.0, clock), clock, 0, 3_600) == [(0, [0]), (60.0, [1])]


async def test_rows_out_of_order_or_without_time_do_not_wait() -> None:
    clock = Clock()
    sent = await played(pace_of(1.0, clock), clock, None, 10, 20, 5, None)
    assert sent == [(0, [0, 1]), (10.0, [2, 3, 4])]


async def test_now_stamps_rows_with_the_moment_they_are_sent() -> None:
    before = datetime.now(UTC)
    [batch] = [batch async for batch in Pace(now=True).batches(rows(0))]
    assert isinstance(batch, Batch)
    assert datetime.fromisoformat(batch.items[0]["timestamp"]) >= before


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("60", 60.0), ("60x", 60.0), ("0.5", 0.5)])
def test_speeds(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan", ""])
def test_what_is_no_speed(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--speed"):
        parse_speed(text)
