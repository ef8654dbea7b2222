"""A child process of the stack: started, its output kept, stopped for certain."""

import asyncio
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetpulse.stack.logs import ChildLog

CHUNK = 2**16
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Service:
    """What to run: a command, where its log goes, and the address that answers 200 once it is ready."""

    name: str
    command: tuple[str, ...]
    url: str
    health_path: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def health_url(self) -> str:
        """Answers 200 once the service is ready."""
        return self.url + self.health_path


class Child:
    """One running service. It gets a session of its own, so that a terminal's Ctrl-C reaches only the launcher."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._log = ChildLog(service.log)
        self._process: Process | None = None
        self._pump: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id once started."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.returncode if self._process else None

    def tail(self) -> str:
        """The last lines it printed."""
        return self._log.tail()

    async def start(self) -> None:
        """Starts it; raises OSError when the program cannot be run."""
        self._process = await asyncio.create_subprocess_exec(
            *_dies_with_parent(),
            *self.service.command,
            env=self.service.environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        self._pump = asyncio.create_task(self._keep_log(self._process))

    async def ended(self) -> int:
        """Waits until it has ended and its last output is kept; returns its exit code."""
        if self._process is None or self._pump is None:
            raise RuntimeError("not started")
        code = await self._process.wait()
        # A grandchild may hold the pipe open; the log is not worth waiting for that.
        await asyncio.wait({self._pump}, timeout=1)
        return code

    async def stop(self, patience: float = STOP_SECONDS) -> bool:
        """Asks it to end and waits; kills it when it takes longer. True when it ended by itself."""
        if self._process is None:
            return True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                await self.ended()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.ended()
            return False
        finally:
            if self._pump:
                self._pump.cancel()
            self._log.close()
        return True

    def kill(self) -> None:
        """Ends it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return

    async def _keep_log(self, process: Process) -> None:
        if process.stdout is None:
            return
        while data := await process.stdout.read(CHUNK):
            self._log.write(data)


def _dies_with_parent() -> tuple[str, ...]:
    """On Linux the kernel ends the child even when the launcher is killed outright; nothing is left behind."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()
