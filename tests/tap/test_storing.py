"""Whatever storage does, what was put here comes out in order, once."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.tap import storing
from fleetpulse.tap.frames import Frame, Reading, Recorded
from fleetpulse.tap.happenings import Happening
from fleetpulse.tap.meters import Meters

LOST = "fleetpulse_tap_lost_messages_total"


class Shelf:
    """A store that refuses what it is told to: the next calls for lack of room, and single messages for good."""

    def __init__(self, refusals: Sequence[bool] = (), broken: frozenset[int] = frozenset()) -> None:
        self.kept: list[int | str] = []
        self.batches: list[int] = []
        self._refusals = list(refusals)
        self._broken = broken

    async def keep(self, messages: Sequence[Recorded]) -> None:
        await self._think()
        if any(each.frame.number in self._broken for each in messages):
            raise ValueError("cannot be stored")
        self.batches.append(len(messages))
        self.kept.extend(each.frame.number for each in messages)

    async def tell(self, kind: str, detail: Mapping[str, Any]) -> None:  # noqa: ARG002 - what Tell is given
        await self._think()
        self.kept.append(kind)

    async def _think(self) -> None:
        await asyncio.sleep(0)
        if self._refusals and self._refusals.pop():
            raise OverloadedError("no room")


def message(number: int, size: int = 10) -> Recorded:
    return Recorded(Frame("run-1", number, 0.0, 0.0, 1, "x", size), Reading("chat", "", "x"))


def storing_on(shelf: Shelf, instruments: Instruments, messages: int = 1_000, size: int = 10**6) -> storing.Storing:
    meters = Meters(instruments, "room", asyncio.get_running_loop().time)
    return storing.Storing("room", shelf.keep, shelf.tell, meters, messages, size, random.Random(1))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "RETRY_FIRST", 0.0001)
    monkeypatch.setattr(storing, "RETRY_CAP", 0.0002)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["message", "message", "event", "turn"]), max_size=60),
    st.lists(st.booleans(), max_size=12),
    st.frozensets(st.integers(0, 60), max_size=3),
)
def test_what_is_put_comes_out_in_order_but_for_what_can_never_be_stored(
    steps: list[str], refusals: list[bool], broken: frozenset[int]
) -> None:
    expected, lost, shelf = asyncio.run(_played(steps, refusals, broken))
    assert shelf.kept == expected
    assert lost == len(broken & {place for place, step in enumerate(steps) if step == "message"})


async def _played(
    steps: list[str], refusals: list[bool], broken: frozenset[int]
) -> tuple[list[int | str], float, Shelf]:
    shelf, instruments = Shelf(refusals, broken), Instruments()
    it = storing_on(shelf, instruments)
    task = asyncio.create_task(it.run())
    expected: list[int | str] = []
    for place, step in enumerate(steps):
        if step == "message":
            it.put(message(place))
            expected += [place] if place not in broken else []
        elif step == "event":
            it.put_happening(Happening(f"event {place}", {}))
            expected.append(f"event {place}")
        else:
            await asyncio.sleep(0)
    it.end()
    async with asyncio.timeout(20):
        await task
    lost = instruments.registry.get_sample_value(LOST, {"stream": "room", "reason": "refused"})
    return expected, lost or 0.0, shelf


async def test_what_gathers_while_a_batch_is_stored_is_the_next_batch() -> None:
    shelf = Shelf()
    it = storing_on(shelf, Instruments())
    for number in range(storing.BATCH_MESSAGES + 5):
        it.put(message(number))
    it.end()
    await it.run()
    assert shelf.batches == [storing.BATCH_MESSAGES, 5]


async def test_a_batch_is_bounded_in_bytes() -> None:
    shelf = Shelf()
    it = storing_on(shelf, Instruments(), size=10**9)
    for number in range(5):
        it.put(message(number, storing.BATCH_BYTES // 2))
    it.end()
    await it.run()
    assert shelf.batches == [2, 2, 1]


@pytest.mark.parametrize(("messages", "size"), [(3, 10**6), (1_000, 30)])
async def test_it_is_full_by_number_and_by_bytes_and_says_when_there_is_room(messages: int, size: int) -> None:
    shelf = Shelf()
    it = storing_on(shelf, Instruments(), messages, size)
    assert [it.put(message(number)) for number in range(3)] == [True, True, False]
    waiting = asyncio.create_task(it.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    it.end()
    await it.run()
    async with asyncio.timeout(20):
        await waiting
    assert not it.full


async def test_what_is_abandoned_is_counted() -> None:
    instruments = Instruments()
    it = storing_on(Shelf(), instruments)
    for number in range(3):
        it.put(message(number))
    it.put_happening(Happening("event", {}))
    it.abandon()
    assert instruments.registry.get_sample_value(LOST, {"stream": "room", "reason": "stopped"}) == 3
    assert it.waiting == 0
