import asyncio
import concurrent.futures
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any, Unpack

import openai
import pytest

from fleetpulse.client import Monitor, RequestFields
from fleetpulse.client.calls import classify

ANSWER = {"model": "gpt-4o", "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
SAID = {"model": "gpt-4o", "input_tokens": 9, "output_tokens": 3}


class Remembering(Monitor):
    """A monitor that keeps what is logged, and reports nothing."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.seen: list[dict[str, Any]] = []

    def log(self, **fields: Unpack[RequestFields]) -> str:
        self.seen.append(dict(fields))
        return ""

    @property
    def one(self) -> dict[str, Any]:
        """The only record."""
        assert len(self.seen) == 1
        return self.seen[0]


@pytest.fixture
def monitor() -> Remembering:
    return Remembering()


class ReadTimeout(Exception):  # noqa: N818 - as other libraries name theirs
    pass


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError(), "error"),
        (TimeoutError(), "timeout"),
        (ReadTimeout(), "timeout"),
        (openai.APITimeoutError.__new__(openai.APITimeoutError), "timeout"),
        (asyncio.CancelledError(), "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(), "cancelled"),
    ],
)
def test_how_a_call_ended(error: BaseException, status: str) -> None:
    assert classify(error) == status


def test_a_call_is_timed_and_told_about(monitor: Remembering) -> None:
    with monitor.request(command="chat", user_id=42) as call:
        call.tokens(9, 3, cached_tokens=1)
        call.cost(0.25)
        call.set(session_id="s")
    one = monitor.one
    assert one.pop("execution_time") > 0
    assert one.pop("request_id") == call.request_id
    assert one == {
        "command": "chat",
        "user_id": 42,
        "input_tokens": 9,
        "output_tokens": 3,
        "cached_tokens": 1,
        "cost": 0.25,
        "session_id": "s",
    }


def test_what_is_raised_goes_on_unchanged(monitor: Remembering) -> None:
    error = ValueError("bad")
    with pytest.raises(ValueError, match="bad") as caught, monitor.request():
        raise error
    assert caught.value is error
    assert (monitor.one["status"], monitor.one["error"]) == ("error", "ValueError: bad")


def test_a_failure_without_an_exception(monitor: Remembering) -> None:
    with monitor.request() as call:
        call.fail("empty answer")
    assert (monitor.one["status"], monitor.one["error"]) == ("error", "empty answer")
    with monitor.request() as call:
        call.fail(TimeoutError("slow"))
    assert monitor.seen[1]["status"] == "timeout"


def test_a_model_that_was_asked_for_stays(monitor: Remembering) -> None:
    with monitor.request(model="gpt-4o-2024") as call:
        call.usage(ANSWER)
    assert monitor.one["model"] == "gpt-4o-2024"


async def test_a_cancelled_task_is_cancelled_and_logged(monitor: Remembering) -> None:
    began = asyncio.Event()

    @monitor.track
    async def forever() -> None:
        began.set()
        await asyncio.sleep(3_600)

    task = asyncio.create_task(forever())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (monitor.one["status"], monitor.one["error"]) == ("cancelled", "CancelledError")


async def test_a_timeout_within_is_a_timeout(monitor: Remembering) -> None:
    with pytest.raises(TimeoutError):
        async with monitor.request(), asyncio.timeout(0.001):
            await asyncio.sleep(3_600)
    assert monitor.one["status"] == "timeout"


def test_a_plain_function(monitor: Remembering) -> None:
    @monitor.track(usage=True, source="batch")
    def ask(text: str, *, again: bool = False) -> dict[str, Any]:
        """Asks."""
        return {**ANSWER, "text": text, "again": again}

    assert ask("hello", again=True)["text"] == "hello"
    assert (ask.__name__, ask.__doc__) == ("ask", "Asks.")
    assert str(inspect.signature(ask)) == "(text: str, *, again: bool = False) -> dict[str, typing.Any]"
    assert {name: monitor.one[name] for name in SAID} == SAID
    assert monitor.one["source"] == "batch"
    assert monitor.one["command"].endswith("ask")


async def test_an_async_function_stays_one(monitor: Remembering) -> None:
    @monitor.track(usage=True)
    async def ask() -> dict[str, Any]:
        await asyncio.sleep(0)
        return ANSWER

    assert inspect.iscoroutinefunction(ask)
    assert await ask() is ANSWER
    assert monitor.one["input_tokens"] == 9


def test_a_generator_lasts_until_it_ends(monitor: Remembering) -> None:
    @monitor.track(usage=True)
    def stream() -> Iterator[object]:
        yield "piece"
        yield ANSWER

    pieces = stream()
    assert next(pieces) == "piece"
    assert monitor.seen == []
    assert list(pieces) == [ANSWER]
    assert monitor.one["output_tokens"] == 3


def test_a_generator_takes_and_returns_values(monitor: Remembering) -> None:
    @monitor.track
    def echo() -> Any:
        return (yield "ready")

    one = echo()
    assert next(one) == "ready"
    with pytest.raises(StopIteration) as end:
        one.send("word")
    assert end.value.value == "word"
    assert "status" not in monitor.one


@pytest.mark.parametrize("usage", [True, False])
def test_a_generator_that_nobody_wants_any_more(monitor: Remembering, *, usage: bool) -> None:
    closed = []

    @monitor.track(usage=usage)
    def stream() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    pieces = stream()
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # an Iterator that is a generator
    assert closed == [True]
    assert monitor.one["status"] == "cancelled"


async def test_an_async_generator(monitor: Remembering) -> None:
    @monitor.track(usage=True)
    async def stream() -> AsyncIterator[object]:
        yield "piece"
        yield ANSWER
        raise ReadTimeout("half")

    with pytest.raises(ReadTimeout):
        [piece async for piece in stream()]
    assert (monitor.one["status"], monitor.one["error"]) == ("timeout", "ReadTimeout: half")
    assert monitor.one["input_tokens"] == 9


def test_arguments_describe_a_call(monitor: Remembering) -> None:
    @monitor.track(command="chat", describe=lambda user, **_: {"user_id": user, "command": "ask"})
    def ask(user: str, *, text: str) -> str:
        return user + text

    ask("u1", text="hello")
    assert (monitor.one["user_id"], monitor.one["command"]) == ("u1", "ask")


def test_a_description_that_fails_costs_nothing(monitor: Remembering) -> None:
    @monitor.track(command="chat", describe=lambda: {"user_id": "u"})
    def ask(user: str) -> str:
        return user

    assert ask("u1") == "u1"
    assert monitor.one["command"] == "chat"


class Service:
    """Methods of every kind, tracked."""

    monitor = Remembering()

    @monitor.track
    def method(self) -> object:
        return self

    @classmethod
    @monitor.track
    def of_class(cls) -> object:
        return cls

    @staticmethod
    @monitor.track
    def of_none() -> int:
        return 1


def test_methods() -> None:
    service = Service()
    assert (service.method(), service.of_class(), service.of_none()) == (service, Service, 1)
    assert [one["command"] for one in Service.monitor.seen] == [
        "Service.method",
        "Service.of_class",
        "Service.of_none",
    ]
