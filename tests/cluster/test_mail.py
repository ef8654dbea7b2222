import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.cluster.line import Line
from tests.journal.stand import NOW, Stand, at_work, until

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.mail import MAX_WAITING, MOVE, MOVED, MailRelay
from fleetpulse.cluster.peers import Peer, Peers
from fleetpulse.errors import LimitedError
from fleetpulse.journal import MAILBOX, MailRow
from fleetpulse.live.connection import Connection
from fleetpulse.live.presence import Listener, Presence


class Present:
    """Who is where, as a test says."""

    def __init__(self) -> None:
        self.here: list[Connection] = []
        self.remote: dict[str, Connection] = {}

    def listen(self, _listener: Listener) -> None:
        """The tests wake nobody: the relay looks every second."""

    def local(self) -> list[Connection]:
        return self.here

    def of_user(self, user_id: str) -> list[Connection]:
        return [each for each in (*self.here, *self.remote.values()) if each.user_id == user_id]


class Box:
    """A mailbox over a journal. With `room` it is full after so many."""

    def __init__(self, stand: Stand, room: int = 10_000) -> None:
        self.stand = stand
        self.room = room
        self.gone: dict[str, int] = {}

    def rows(self, user_id: str) -> list[str]:
        found = self.stand.eyes.execute(
            "SELECT delivery_id FROM mailbox WHERE user_id = ? AND id > ? ORDER BY id",
            (user_id, self.gone.get(user_id, 0)),
        )
        return [each for (each,) in found]

    def waiting(self, user_id: str) -> int:
        return len(self.rows(user_id))

    def position(self, user_id: str) -> int | None:
        return self.gone.get(user_id, 0) if self.waiting(user_id) else None

    def reserve(self, user_id: str) -> None:
        del user_id
        if not self.room:
            raise LimitedError("the mailbox is full")
        self.room -= 1

    async def keep(self, row: MailRow) -> bool:
        return bool((await self.stand.journal.store(MAILBOX, [row])).new)

    def moved(self, user_id: str, upto: int) -> None:
        self.gone[user_id] = max(upto, self.gone.get(user_id, 0))


class Replica:
    def __init__(self, name: str, stand: Stand, room: int = 10_000) -> None:
        self.name = name
        self.line = Line(name)
        self.box = Box(stand, room)
        self.present = Present()
        self.time = 0.0
        self.others: list[Peer] = []
        self.relay = MailRelay(
            cast("RedisBus", self.line),
            cast("Peers", self),
            stand.journal,
            cast("Presence", self.present),
            self.box,
            "push",
            lambda: self.time,
        )
        self.stand = stand

    def all(self) -> list[Peer]:
        return self.others

    async def post(self, user_id: str, *names: str) -> None:
        rows = [MailRow(name, NOW, user_id, "message", "{}") for name in names]
        outcome = await self.stand.journal.store(MAILBOX, rows)
        assert len(outcome.new) == len(names)

    def comes(self, user_id: str, to: "Replica") -> None:
        """A user is at another replica, and this one knows."""
        self.present.remote[user_id] = Connection(f"c-{user_id}", user_id, "chat", NOW, replica=to.name)


@asynccontextmanager
async def two(folder: Path, room: int = 10_000) -> AsyncIterator[tuple[Replica, Replica]]:
    async with at_work(folder / "a.db") as one, at_work(folder / "b.db") as other:
        a, b = Replica("a", one), Replica("b", other, room)
        for here, there in ((a, b), (b, a)):
            here.others.append(Peer(there.line.run_id, there.name, there.stand.journal.epoch))
        working = asyncio.create_task(a.relay.run())
        try:
            yield a, b
            assert not working.done()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def offered(a: Replica) -> Any:
    """The next offer, which may take until the relay looks again."""
    a.time += 60
    await until(lambda: any(frame.channel == MOVE for frame in a.line.sent))
    (frame,) = a.line.take(MOVE)
    return frame.payload


async def answered(b: Replica, offers: Sequence[Any]) -> list[Any]:
    """What the other replica says once it has taken offers."""
    for offer in offers:
        b.line.hand(MOVE, offer)
    await until(lambda: not b.relay._storing)  # noqa: SLF001 - nothing else shows that it is done
    return [frame.payload for frame in b.line.take(MOVED)]


async def test_mail_moves_in_pages_in_order_and_is_deleted_only_once_it_is_stored(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        names = [f"m{number:03}" for number in range(120)]
        await a.post("ben", *names)
        await a.post("ann", "hers")
        a.comes("ben", b)
        for _ in range(3):
            offer = await offered(a)
            assert a.box.waiting("ben") + b.box.waiting("ben") == 120
            (answer,) = await answered(b, [offer])
            a.line.hand(MOVED, answer)
        assert b.box.rows("ben") == names
        assert (a.box.rows("ben"), a.box.rows("ann")) == ([], ["hers"])


async def test_an_offer_that_comes_twice_or_whose_answer_is_lost_is_stored_once(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        await a.post("ben", "m1", "m2")
        a.comes("ben", b)
        first = await offered(a)
        await answered(b, [first, first])  # the answers are lost
        again = await offered(a)
        for answer in await answered(b, [again]):
            a.line.hand(MOVED, answer)
        assert b.box.rows("ben") == ["m1", "m2"]
        assert a.box.rows("ben") == []


async def test_a_full_mailbox_takes_what_fits_and_the_rest_stays_where_it_is(tmp_path: Path) -> None:
    async with two(tmp_path, room=2) as (a, b):
        await a.post("ben", "m1", "m2", "m3")
        a.comes("ben", b)
        for answer in await answered(b, [await offered(a)]):
            a.line.hand(MOVED, answer)
        assert b.box.rows("ben") == ["m1", "m2"]
        assert a.box.rows("ben") == ["m3"]
        b.box.room = 5
        for answer in await answered(b, [await offered(a)]):
            a.line.hand(MOVED, answer)
        assert b.box.rows("ben") == ["m1", "m2", "m3"]


async def test_who_is_here_too_keeps_their_mail_here_and_the_others_are_sent_a_copy(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        a.comes("ben", b)
        a.present.here.append(Connection("c0", "ben", "chat", NOW, replica="a"))
        row = MailRow("m1", NOW, "ben", "message", '{"text": "both"}')
        a.relay.stored(MAILBOX, [row], 1)
        (copy,) = a.line.take("push")
        assert copy.payload == {"to": {"user": "ben"}, "message": {"text": "both"}}


async def test_what_is_no_mail_is_refused_and_deletes_nothing(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        await a.post("ben", "m1")
        a.comes("ben", b)
        offer = await offered(a)
        broken: dict[str, Any]
        for broken in (
            {},
            offer | {"table": "requests"},
            offer | {"user": "ann"},
            offer | {"upto": "all"},
            offer | {"rows": [[1]]},
        ):
            with pytest.raises((KeyError, TypeError, ValueError)):
                b.line.hand(MOVE, broken)
        for upto in (2**70, 99, "1", None):
            with pytest.raises(ValueError, match=r"mail|id"):
                a.line.hand(MOVED, {"epoch": a.stand.journal.epoch, "user": "ben", "upto": upto})
        a.line.hand(MOVED, {"epoch": "another", "user": "ben", "upto": 1})
        assert (a.box.rows("ben"), b.box.rows("ben")) == (["m1"], [])


async def test_offers_that_are_being_stored_are_bounded(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        await a.post("ben", "m1")
        a.comes("ben", b)
        offer = await offered(a)
        for _ in range(MAX_WAITING + 50):
            b.line.hand(MOVE, offer)
        assert len(b.relay._storing) == MAX_WAITING  # noqa: SLF001 - nothing else shows it
        await until(lambda: not b.relay._storing)  # noqa: SLF001
        assert b.box.rows("ben") == ["m1"]
