import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.accounts.world import Clock, World, at_work
from tests.cluster.line import Line
from tests.journal.stand import until

from fleetpulse.accounts.whole import MAX_ORIGINS, STATES, Whole
from fleetpulse.config import Accounts

FORGET = Accounts().forget_after_seconds


class Replica:
    """A ledger that is shared over a line."""

    def __init__(self, name: str, here: World, limit: int = 1_000) -> None:
        self.world = here
        self.line = Line(name)
        self.whole = Whole(self.line, here.book, name, Accounts(), limit, here.clock)
        here.ledger.watch(self.whole.changed)

    def shown(self, account_id: str) -> dict[str, Any]:
        (account,) = self.whole.chosen([account_id])
        return account.as_json()


@asynccontextmanager
async def replicas(folder: Path, *names: str) -> AsyncIterator[list[Replica]]:
    async with (
        asyncio.TaskGroup() as group,
        at_work(folder / "a", Clock()) as a,
        at_work(folder / "b", Clock()) as b,
    ):
        both = [Replica(name, here) for name, here in zip(names, (a, b), strict=True)]

        async def carry() -> None:
            while True:
                for each, other in (both, both[::-1]):
                    other.line.deliver(*each.line.take())
                await asyncio.sleep(0.005)

        tasks = [group.create_task(work) for work in (carry(), *(each.whole.run() for each in both))]
        yield both
        for task in tasks:
            task.cancel()


def knows(replica: Replica) -> bool:
    return len(replica.whole.everyone()) == 3 and not replica.shown("ann")["online"]


async def test_counters_add_up_and_the_newest_word_counts_at_every_replica(tmp_path: Path) -> None:
    async with replicas(tmp_path, "x", "y") as (x, y):
        await x.world.do("ann", "message", count=3, online=True)
        await x.world.do("only-x", "error", online=False)
        y.world.clock.now += 5
        x.world.clock.now += 5
        await y.world.do("ann", "reply", count=2, reply_time=1.5, online=False)
        await y.world.do("only-y", "redpacket")
        await until(lambda: knows(x) and knows(y))
        for each in (x, y):
            ann = each.shown("ann")
            assert (ann["message_count"], ann["reply_count"], ann["average_reply_time"]) == (3, 2, 1.5)
            assert [account.account_id for account in each.whole.latest(2)] == ["ann", "only-y"]
        await until(lambda: x.whole.system() == y.whole.system())
        assert x.whole.system() == {
            "total_accounts": 3,
            "online_accounts": 1,
            "total_messages": 3,
            "total_replies": 2,
            "total_redpackets": 1,
            "total_errors": 1,
            "average_reply_time": 1.5,
        }


async def test_who_joins_is_told_everything_and_who_vanishes_counts_until_it_is_forgotten(tmp_path: Path) -> None:
    async with replicas(tmp_path, "x", "y") as (x, y):
        y.line.connection = None
        for number in range(250):
            await y.world.do(f"acc-{number}", "message")
        await until(lambda: not y.whole._news)  # noqa: SLF001 - it was told to nobody
        assert x.whole.everyone() == []
        y.line.connection = object()
        y.whole.joined(None)
        await until(lambda: len(x.whole.everyone()) == 250)
        y.line.connection = None
        x.whole.left(None)
        assert x.whole.system()["total_messages"] == 250
        x.world.clock.now += FORGET + 1
        x.whole.expire()
        assert x.whole.everyone() == []
        assert x.whole.system()["total_messages"] == 250, "sums never fall"


async def test_older_states_and_duplicates_change_nothing_and_what_is_none_is_refused(tmp_path: Path) -> None:
    async with at_work(tmp_path / "a", Clock()) as here, at_work(tmp_path / "b", Clock()) as there:
        x, y = Replica("x", here), Replica("y", there, limit=2)
        told = []
        for number in range(3):
            await here.do("ann", "message", activity_id=f"m{number}")
            x.whole._tell(["ann"])  # noqa: SLF001 - one message at a time
            told += x.line.take()
        y.line.deliver(told[2], told[0], told[2], told[1])
        assert y.shown("ann")["message_count"] == 3
        good = told[2].payload
        state = good["states"][0]
        broken: Any
        for broken in (
            None,
            {},
            good | {"sums": {"messages": "many"}},
            good | {"states": [state | {"messages": "x"}]},
            good | {"states": [{}]},
            good | {"states": [state | {"account_id": ""}]},
        ):
            with pytest.raises((KeyError, TypeError, ValueError)):
                y.line.hand(STATES, broken)
        assert y.shown("ann")["message_count"] == 3
        with pytest.raises(ValueError, match="known_accounts"):
            y.line.hand(STATES, good | {"states": [state | {"account_id": f"a{number}"} for number in range(5)]})
        assert len(y.whole.everyone()) == 2
        for number in range(MAX_ORIGINS - 1):
            y.line.hand(STATES, good | {"epoch": f"e{number}", "states": []})
        with pytest.raises(ValueError, match="too many"):
            y.line.hand(STATES, good | {"epoch": "one more", "states": []})
        assert asdict(here.book.sums)["messages"] == 3
