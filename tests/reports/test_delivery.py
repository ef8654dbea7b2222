"""The postman, with a real mail server and a real journal; the clock and the figures are the test's.

A day of waiting takes no time here: the clock is set, and the postman looks at it every few milliseconds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.journal.stand import Stand, at_work
from tests.reports.sample import ZONE, sample
from tests.reports.sink import Sink

from fleetpulse import catalogue
from fleetpulse.config import Reports
from fleetpulse.errors import InvalidInputError, OverloadedError, UpstreamError
from fleetpulse.instruments import Instruments
from fleetpulse.query.periods import Kind
from fleetpulse.query.report import Report
from fleetpulse.reports.delivery import Deliveries
from fleetpulse.reports.mail import Mailer

DEADLINE = 30.0
SECONDS = 0.005
PEOPLE = {"sender": "reports@example.com", "recipients": ["a@example.com"], "smtp_security": "none"}


class Maker:
    """Makes the sample, dated as it was asked for; fails while `broken`."""

    def __init__(self) -> None:
        self.broken = False
        self.asked: list[tuple[Kind, date]] = []

    @property
    def zone(self) -> ZoneInfo:
        return ZONE

    async def of(self, kind: Kind, day: date) -> Report:
        self.asked.append((kind, day))
        if self.broken:
            raise UpstreamError("Prometheus", "is away")
        return sample(kind, complete=True).model_copy(update={"first_day": day, "complete": True})


class Post:
    """A postman at work on a journal that outlives it, and the clock it goes by."""

    def __init__(self, stand: Stand, sink: Sink, **settings: Any) -> None:
        self.now = at("2025-05-12T07:00")
        self.looks = 0
        self.maker = Maker()
        self.instruments = Instruments()
        own = Reports.model_validate(
            PEOPLE | {"smtp_host": "127.0.0.1", "smtp_port": sink.port, "daily_at": "08:00"} | settings
        )
        self.deliveries = Deliveries(
            self.maker,
            Mailer(own),
            stand.journal,
            own,
            self.instruments,
            clock=self.clock,
            pauses=(SECONDS, SECONDS),
            look_seconds=SECONDS,
        )

    def clock(self) -> float:
        self.looks += 1
        return self.now.timestamp()

    async def quiet(self) -> None:
        """Until the postman has looked at the clock many times."""
        enough = self.looks + 50
        await until(lambda: self.looks >= enough)

    @asynccontextmanager
    async def working(self) -> AsyncIterator["Post"]:
        task = asyncio.create_task(self.deliveries.run())
        try:
            await until(lambda: self.looks)
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def count(self, outcome: str, kind: str = "daily") -> float:
        return self.sample(catalogue.REPORT_MAILS.name, report=kind, outcome=outcome) or 0.0

    def due(self, kind: str = "daily") -> float | None:
        return self.sample(catalogue.REPORT_DUE.name, report=kind)

    def success(self, kind: str = "daily") -> float | None:
        return self.sample(catalogue.REPORT_LAST_SUCCESS.name, report=kind)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.instruments.registry.get_sample_value(name, labels)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for happens on other threads
            await asyncio.sleep(SECONDS)


def days(sink: Sink) -> list[str]:
    return [str(each.message["Message-ID"]).split(".")[2] for each in sink.received]


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


async def test_each_day_is_sent_once_when_its_time_comes(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            await post.quiet()
            assert sink.received == []
            assert post.due() is None
            for day in ("2025-05-12", "2025-05-13", "2025-05-14"):
                post.now = at(f"{day}T08:00")
                await until(lambda: post.success() == post.now.timestamp())
                await post.quiet()
        assert days(sink) == ["2025-05-11", "2025-05-12", "2025-05-13"]
        assert post.count("sent") == 3
        assert post.due() == at("2025-05-14T08:00").timestamp()
        names = [[each.get_filename() for each in got.message.iter_attachments()] for got in sink.received]
        assert names[0] == ["fleetpulse-daily-2025-05-11.html", "fleetpulse-daily-2025-05-11.csv"]


async def test_a_restart_neither_repeats_nor_forgets(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            post.now = at("2025-05-12T08:00")
            await until(post.success)
        again = Post(kept, sink)
        again.now = at("2025-05-12T09:00")
        async with again.working():
            await again.quiet()
            assert again.success() == at("2025-05-12T08:00").timestamp()
        assert days(sink) == ["2025-05-11"]

        late = Post(kept, sink)  # was down when the next one was due
        late.now = at("2025-05-13T20:00")
        async with late.working():
            await until(lambda: late.count("sent"))
        assert days(sink) == ["2025-05-11", "2025-05-12"]
        ids = {str(each.message["Message-ID"]).split(".")[3] for each in sink.received}
        assert len(ids) == 1, "one installation's ids are alike"


async def test_what_is_missed_for_more_than_a_day_is_told_and_left_out(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink, daily_at=None, weekly_at="08:00").working() as post:
            post.now = at("2025-05-12T08:00")
            await until(lambda: post.success("weekly"))
        late = Post(kept, sink, daily_at=None, weekly_at="08:00")
        late.now = at("2025-05-20T08:01")  # a Tuesday
        async with late.working():
            await until(lambda: late.count("missed", "weekly"))
            await late.quiet()
            assert late.count("missed", "weekly") == 1
            assert late.due("weekly") == at("2025-05-19T08:00").timestamp()
            late.now = at("2025-05-26T08:00")
            await until(lambda: late.success("weekly") == late.now.timestamp())
        assert days(sink) == ["2025-05-05", "2025-05-19"]


async def test_a_failed_attempt_is_repeated(kept: Stand) -> None:
    with Sink(answers=["451 later"]) as sink:
        async with Post(kept, sink).working() as post:
            post.now = at("2025-05-12T08:00")
            await until(post.success)
            assert (post.count("failed"), post.count("sent"), post.count("missed")) == (1, 1, 0)
        assert days(sink) == ["2025-05-11"]


async def test_what_cannot_be_sent_is_given_up_until_the_next_one(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            post.maker.broken = True
            post.now = at("2025-05-12T08:00")
            await until(lambda: post.count("missed"))
            await post.quiet()
            assert (post.count("failed"), post.count("missed")) == (3, 1)
            assert post.due() == post.now.timestamp()
            assert post.success() is None
            post.maker.broken = False
            post.now = at("2025-05-13T08:00")
            await until(post.success)
        assert days(sink) == ["2025-05-12"]

        again = Post(kept, sink)
        again.now = at("2025-05-13T09:00")
        async with again.working():
            await again.quiet()
        assert days(sink) == ["2025-05-12"]


async def test_a_restart_within_a_day_tries_what_was_given_up(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            post.maker.broken = True
            post.now = at("2025-05-12T08:00")
            await until(lambda: post.count("missed"))
        again = Post(kept, sink)
        again.now = at("2025-05-12T12:00")
        async with again.working():
            await until(again.success)
        assert days(sink) == ["2025-05-11"]


async def test_what_is_sent_by_hand_when_it_is_due_is_sent(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            post.maker.broken = True
            post.now = at("2025-05-12T08:00")
            await until(lambda: post.count("missed"))
            post.maker.broken = False
            await post.deliveries.send(await post.maker.of("daily", date(2025, 5, 11)))
            assert post.success() == post.now.timestamp()
        again = Post(kept, sink)
        again.now = at("2025-05-12T09:00")
        async with again.working():
            await again.quiet()
        assert len(sink.received) == 1


async def test_what_is_sent_by_hand_before_it_is_due_is_sent_again_then(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            await post.deliveries.send(await post.maker.of("daily", date(2025, 5, 11)))
            assert post.success() is None
            post.now = at("2025-05-12T08:00")
            await until(post.success)
        assert len(sink.received) == 2


async def test_refused_recipients_are_told_and_not_tried_again(kept: Stand) -> None:
    with Sink(refused={"b@example.com"}) as sink:
        post = Post(kept, sink, recipients=["a@example.com", "b@example.com"])
        delivered = await post.deliveries.send(sample())
        assert (delivered.recipients, delivered.refused) == (1, ("b@example.com",))
        assert len(sink.received) == 1


async def test_one_at_a_time_is_sent_by_hand(kept: Stand) -> None:
    with Sink() as sink:
        post = Post(kept, sink)
        first = asyncio.create_task(post.deliveries.send(sample()))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await post.deliveries.send(sample())
        await first
        assert len(sink.received) == 1


async def test_a_failure_by_hand_is_told(kept: Stand) -> None:
    with Sink(answers=["554 no"]) as sink:
        post = Post(kept, sink)
        with pytest.raises(UpstreamError, match="554"):
            await post.deliveries.send(sample())
        assert post.count("failed") == 1
    nowhere = Deliveries(Maker(), Mailer(Reports()), kept.journal, Reports(), Instruments())
    with pytest.raises(InvalidInputError):
        await nowhere.send(sample())


async def test_without_a_schedule_there_is_nothing_to_do(kept: Stand) -> None:
    deliveries = Deliveries(Maker(), Mailer(Reports()), kept.journal, Reports(), Instruments())
    await asyncio.wait_for(deliveries.run(), DEADLINE)


async def test_clocks_that_are_set_back_send_nothing_twice(kept: Stand) -> None:
    with Sink() as sink:
        async with Post(kept, sink).working() as post:
            post.now = at("2025-05-12T08:00")
            await until(post.success)
            post.now -= timedelta(days=3)
            await post.quiet()
            post.now = at("2025-05-12T08:30")
            await post.quiet()
        assert days(sink) == ["2025-05-11"]
