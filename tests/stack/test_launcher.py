import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from fleetpulse.errors import ConfigError
from fleetpulse.stack.children import Child, Service
from fleetpulse.stack.launcher import Launcher
from fleetpulse.stack.ports import free_port

DEADLINE = 60
SERVER = """
import http.server, signal, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("listening", flush=True)
server.serve_forever()
print("goodbye", flush=True)
"""


class Recorder:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.up = asyncio.Event()

    def starting(self, waiting: Sequence[str]) -> None:
        self.events.append(("starting", ",".join(waiting)))

    def running(self) -> None:
        self.events.append(("running", ""))
        self.up.set()

    def stopping(self, name: str) -> None:
        self.events.append(("stopping", name))

    def stopped(self) -> None:
        self.events.append(("stopped", ""))

    def failed(self, what: str, tail: str, log: str) -> None:
        self.events.append(("failed", f"{what}|{tail}|{log}"))

    def of(self, kind: str) -> list[str]:
        return [what for one, what in self.events if one == kind]


def service(folder: Path, name: str, manner: str = "polite", code: str = SERVER) -> Service:
    port = free_port("127.0.0.1")
    command = (sys.executable, "-c", code, str(port), manner)
    return Service(name, command, f"http://127.0.0.1:{port}", "/", folder / f"{name}.log", os.environ)


def nothing() -> None:
    """A refresh that has nothing to do."""


async def started(
    services: list[Service], refresh: Callable[[], None] = nothing
) -> tuple[asyncio.Task[int], Recorder]:
    screen = Recorder()
    return asyncio.create_task(Launcher(services, screen, refresh).run()), screen


def children() -> list[psutil.Process]:
    return psutil.Process().children()


async def test_all_come_up_and_stop_in_the_opposite_order_when_asked(tmp_path: Path) -> None:
    running, screen = await started([service(tmp_path, "one"), service(tmp_path, "two")])
    await asyncio.wait_for(screen.up.wait(), DEADLINE)
    assert len(children()) == 2
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, DEADLINE) == 0
    assert screen.of("stopping") == ["two", "one"]
    assert not children()
    assert (tmp_path / "one.log").read_text().split() == ["listening", "goodbye"]


async def test_a_child_that_ends_is_named_and_the_others_stopped(tmp_path: Path) -> None:
    brief = service(tmp_path, "brief", code="import sys, time; time.sleep(1); print('no more'); sys.exit(3)")
    running, screen = await started([service(tmp_path, "one"), brief])
    assert await asyncio.wait_for(running, DEADLINE) == 1
    [failure] = screen.of("failed")
    assert failure == f"brief ended by itself (exit code 3)|no more|{brief.log}"
    assert not children()


async def test_a_program_that_is_not_there_fails_without_leaving_anything(tmp_path: Path) -> None:
    missing = Service(
        "missing", ("/nonexistent/program",), "http://127.0.0.1:1", "/", tmp_path / "m.log", os.environ
    )
    running, screen = await started([service(tmp_path, "one"), missing])
    assert await asyncio.wait_for(running, DEADLINE) == 1
    assert "missing" in screen.of("failed")[0]
    assert not children()


async def test_a_second_signal_does_not_wait_for_the_stubborn(tmp_path: Path) -> None:
    running, screen = await started([service(tmp_path, "mule", "stubborn")])
    await asyncio.wait_for(screen.up.wait(), DEADLINE)
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(DEADLINE):
        while not screen.of("stopping"):  # noqa: ASYNC110 - the screen has no event for it
            await asyncio.sleep(0.01)
    assert children()
    os.kill(os.getpid(), signal.SIGINT)
    assert await asyncio.wait_for(running, DEADLINE) == 0
    assert not children()


async def test_a_stubborn_child_is_killed_when_patience_ends(tmp_path: Path) -> None:
    child = Child(service(tmp_path, "mule", "stubborn"))
    await child.start()
    async with asyncio.timeout(DEADLINE):
        while "listening" not in child.tail():  # noqa: ASYNC110 - the log has no event
            await asyncio.sleep(0.01)
    assert await child.stop(patience=0.2) is False
    assert child.returncode == -signal.SIGKILL


async def test_a_refresh_that_fails_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetpulse.stack.launcher.TOKEN_SECONDS", 0.01)
    tries = 0

    def refresh() -> None:
        nonlocal tries
        tries += 1
        raise ConfigError("the token cannot be written")

    running, screen = await started([service(tmp_path, "one")], refresh)
    async with asyncio.timeout(DEADLINE):
        while tries < 5:  # noqa: ASYNC110 - counts, no event
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, DEADLINE) == 0
    assert screen.of("failed") == ["the token cannot be written||"]
