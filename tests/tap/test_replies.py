"""Replies: only where a rule says so, not too often, and never to themselves."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.tap.frame import frame, recorded, stream
from tests.tap.stage import until

from fleetpulse import catalogue
from fleetpulse.config.tap import Message, Rule
from fleetpulse.errors import UpstreamError
from fleetpulse.instruments import Instruments
from fleetpulse.tap.frames import Recorded
from fleetpulse.tap.reading import make_read
from fleetpulse.tap.replies import ECHO_SECONDS, WAITING, Allowance, Replies

READ = make_read(stream("chat"))


def rule(name: str, **reply: Any) -> Rule:
    said = {"message": {"text": f"reply of {name}"}} | reply
    return Rule.model_validate({"name": name, "keywords": ["help"], "reply": said})


class Server:
    """What was sent to it; it takes nothing while `down`, and is slow while `gate` is closed."""

    def __init__(self, *rules: Rule) -> None:
        self.sent: list[str] = []
        self.now = 1_000.0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.instruments = Instruments()
        self.replies = Replies("room", rules, READ, self._take, self.instruments, lambda: self.now)

    def outcomes(self, rule: str) -> dict[str, float]:
        counts = {}
        for metric in self.instruments.registry.collect():
            for sample in metric.samples:
                if sample.name == catalogue.TAP_REPLIES.name and sample.labels["rule"] == rule:
                    counts[sample.labels["outcome"]] = sample.value
        return counts

    async def _take(self, message: Message) -> None:
        await self.gate.wait()
        if self.down:
            raise UpstreamError("room", "not connected")
        assert message.text is not None
        self.sent.append(message.text.get_secret_value())


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(rule("a"), rule("b", per_minute=1.0), Rule(name="quiet", keywords=("x",)))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.replies.run())
        yield made
        task.cancel()


async def test_a_rule_answers_and_one_without_a_reply_does_not(server: Server) -> None:
    server.replies.offer([recorded("help", "a", "quiet"), recorded("x", "quiet"), recorded("y")])
    await until(lambda: server.outcomes("a") == {"sent": 1.0})
    assert server.sent == ["reply of a"]
    assert server.outcomes("quiet") == {}


async def test_no_more_than_the_allowed_are_sent_by_rule(server: Server) -> None:
    server.replies.offer([recorded("help", "b") for _ in range(5)])
    server.replies.offer([recorded("help", "a")])
    await until(lambda: server.outcomes("a") == {"sent": 1.0})
    assert server.outcomes("b") == {"sent": 1.0, "limited": 4.0}
    server.now += 60
    server.replies.offer([recorded("help", "b")])
    await until(lambda: server.outcomes("b") == {"sent": 2.0, "limited": 4.0})


@pytest.mark.parametrize(
    "echo",
    [
        recorded("reply of a", "a", user="bot"),
        Recorded(
            frame('{"user":"bot","text":" reply of a "}'),
            READ(frame('{"user":"bot","text":" reply of a "}')),
            ("a",),
        ),
    ],
)
async def test_a_reply_that_comes_back_is_not_answered(server: Server, echo: Recorded) -> None:
    server.replies.offer([recorded("help", "a")])
    await until(lambda: server.sent)
    server.replies.offer([echo])
    assert server.outcomes("a").get("echo") == 1.0
    server.now += ECHO_SECONDS
    server.replies.offer([echo])
    await until(lambda: len(server.sent) == 2)


async def test_a_reply_in_json_is_known_by_what_it_says() -> None:
    made = Server(rule("a", message={"text": '{"type":"send","content":"need help?"}'}))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.replies.run())
        made.replies.offer([recorded("help", "a")])
        await until(lambda: made.sent)
        back = frame('{"type":"new_message","message":{"user_id":"bot","text":"need help?"}}')
        made.replies.offer([Recorded(back, READ(back), ("a",))])
        assert made.outcomes("a") == {"sent": 1.0, "echo": 1.0}
        task.cancel()


async def test_what_cannot_be_sent_is_counted(server: Server) -> None:
    server.down = True
    server.replies.offer([recorded("help", "a")])
    await until(lambda: server.outcomes("a") == {"failed": 1.0})
    server.down = False
    server.replies.offer([recorded("help", "a")])
    await until(lambda: server.outcomes("a") == {"failed": 1.0, "sent": 1.0})


async def test_a_slow_server_holds_nobody_up_and_what_waits_is_bounded() -> None:
    rules = [rule(f"r{n}", per_minute=60) for n in range(2 * WAITING)]
    made = Server(*rules)
    made.gate.clear()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.replies.run())
        await asyncio.sleep(0)
        made.replies.offer([recorded("help", *(each.name for each in rules))])
        limited = sum(made.outcomes(each.name).get("limited", 0) for each in rules)
        assert limited == WAITING
        made.gate.set()
        await until(lambda: len(made.sent) == WAITING)
        task.cancel()


@pytest.mark.parametrize(
    ("per_minute", "hour"), [(60.0, 3_600), (6.0, 360), (1.0, 60), (0.5, 30), (0.1, 6), (2.5, 150)]
)
def test_an_allowance_is_kept_in_any_minute(per_minute: float, hour: int) -> None:
    allowance = Allowance(per_minute)
    taken = [float(second) for second in range(3_600) if allowance.take(float(second))]
    assert len(taken) <= hour
    assert len(taken) >= hour * 0.8
    window = max(60.0, 60.0 / per_minute)
    most = max(1, int(per_minute))
    assert all(sum(begin <= each < begin + window for each in taken) <= most for begin in taken)
