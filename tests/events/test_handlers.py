"""Handlers: each hears its kinds in order; none holds up the service, another handler, or the stop."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest
from tests.events.stand import running, until

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError
from fleetpulse.events import Event
from fleetpulse.events.handlers import MAX_HANDLERS, QUEUE_EVENTS

CALLS = catalogue.EVENT_HANDLER_CALLS


async def test_async_and_plain_handlers_hear_their_kinds_in_order(tmp_path: Path) -> None:
    on_loop: list[str] = []
    on_thread: list[tuple[str, bool]] = []
    loop_thread = threading.current_thread()

    async def hear(event: Event) -> None:
        on_loop.append(f"{event.kind} {event.subject}")

    def hear_too(event: Event) -> None:
        on_thread.append((event.subject, threading.current_thread() is loop_thread))

    async with running(tmp_path) as stand:
        stand.events.on("session_joined", hear, "async")
        stand.events.on("*", hear_too, "plain")
        for number in range(50):
            stand.events.tell("connection", "session_joined", subject=str(number))
        stand.events.tell("custom", "my_event", subject="last")
        await until(lambda: len(on_thread) == 51 and len(on_loop) == 50)
        await until(lambda: stand.value(CALLS, "plain", "done") == 51)
    assert on_loop == [f"session_joined {number}" for number in range(50)]
    assert on_thread == [(str(number), False) for number in range(50)] + [("last", False)]


async def test_a_handler_that_fails_is_logged_and_called_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = []

    def fails(event: Event) -> None:
        heard.append(event.subject)
        raise ValueError("no good")

    async def fails_too(event: Event) -> None:
        fails(event)

    async with running(tmp_path) as stand:
        stand.events.on("x", fails, "plain")
        stand.events.on("x", fails_too, "async")
        for subject in "ab":
            stand.events.tell("custom", "x", subject=subject)
        await until(lambda: sorted(heard) == ["a", "a", "b", "b"])
        await until(lambda: stand.value(CALLS, "plain", "failed") == stand.value(CALLS, "async", "failed") == 2)
    assert "the handler plain failed at x" in caplog.text


async def test_a_handler_that_hangs_delays_nobody_and_loses_its_oldest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log, nor another handler, nor the stop waits for it; what it missed is counted."""
    free = threading.Event()
    heard: list[str] = []
    slow: list[str] = []

    def hang(event: Event) -> None:
        slow.append(event.subject)
        free.wait()

    with caplog.at_level(logging.WARNING):
        async with running(tmp_path, handler_seconds=0.05) as stand:
            stand.events.on("x", hang, "slow")
            stand.events.on("x", lambda event: heard.append(event.subject), "quick")
            stand.events.tell("custom", "x", subject="first")
            await until(lambda: slow == ["first"])
            for number in range(QUEUE_EVENTS + 7):
                stand.events.tell("custom", "x", subject=str(number))
                if number % 100 == 0:
                    await asyncio.sleep(0)
            await until(lambda: stand.value(CALLS, "slow", "dropped") == 7)
            await until(lambda: len(stand.stored()) == QUEUE_EVENTS + 8)
            await until(lambda: "has been busy" in caplog.text)
            free.set()
            await until(lambda: len(slow) == QUEUE_EVENTS + 1)
            await until(lambda: stand.value(CALLS, "slow", "timeout") == 1)
    assert slow[1] == "7"


async def test_a_slow_async_handler_is_cancelled(tmp_path: Path) -> None:
    heard = []

    async def slow(event: Event) -> None:
        if event.subject == "first":
            await asyncio.sleep(3_600)
        heard.append(event.subject)

    async with running(tmp_path, handler_seconds=0.05) as stand:
        stand.events.on("x", slow, "slow")
        stand.events.tell("custom", "x", subject="first")
        stand.events.tell("custom", "x", subject="second")
        await until(lambda: heard == ["second"])
        assert stand.value(CALLS, "slow", "timeout") == 1


async def test_a_hanging_thread_does_not_keep_the_service_from_stopping(tmp_path: Path) -> None:
    free = threading.Event()
    try:
        async with running(tmp_path) as stand:
            stand.events.on("x", lambda _: free.wait(), "stuck")
            stand.events.tell("custom", "x")
            await until(lambda: any(thread.name == "handler stuck" for thread in threading.enumerate()))
        assert [row.kind for row in stand.stored()] == ["x"]
    finally:
        free.set()


async def test_a_handler_may_tell_of_events_and_be_taken_back(tmp_path: Path) -> None:
    heard = []
    async with running(tmp_path) as stand:

        async def answer(event: Event) -> None:
            stand.events.tell("custom", "answer", subject=event.subject)

        take_back = stand.events.on("question", answer)
        stand.events.on("answer", lambda event: heard.append(event.subject))
        stand.events.tell("custom", "question", subject="one")
        await until(lambda: heard == ["one"])
        take_back()
        take_back()
        stand.events.tell("custom", "question", subject="two")
        stand.events.tell("custom", "answer", subject="three")
        await until(lambda: heard == ["one", "three"])


async def test_a_lambda_that_makes_a_coroutine_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def hear(_event: Event) -> None:
        raise AssertionError

    async with running(tmp_path) as stand:
        stand.events.on("x", lambda event: hear(event), "lambda")  # noqa: PLW0108 - that is the mistake
        stand.events.tell("custom", "x")
        await until(lambda: stand.value(CALLS, "lambda", "failed") == 1)
    assert "declare it with async def" in caplog.text


async def test_handlers_are_bounded(tmp_path: Path) -> None:
    async with running(tmp_path) as stand:
        for number in range(MAX_HANDLERS):
            stand.events.on("x", lambda _: None, f"handler {number}")
        with pytest.raises(OverloadedError):
            stand.events.on("x", lambda _: None)
