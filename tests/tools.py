"""Finds the stack's own programs for tests: on PATH, else where the project keeps what it unpacked itself.

`FLEETPULSE_TOOLS` names that folder; the default is `.tools` in the checkout. Debian calls Alertmanager's server
`prometheus-alertmanager`; here every program goes by its upstream name.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DEBIAN_NAMES = {"alertmanager": "prometheus-alertmanager"}
FETCHED = {"prometheus", "promtool", "alertmanager", "amtool"}


def find_tool(name: str) -> Path | None:
    """The program's path, or None where it is not installed."""
    names = [name, *filter(None, [DEBIAN_NAMES.get(name)])]
    folder = Path(os.environ.get("FLEETPULSE_TOOLS", ROOT / ".tools"))
    unpacked = [folder / "usr" / "bin", folder / "bin", folder]
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, unpacked)])
    found = next(filter(None, (shutil.which(each, path=search) for each in names)), None)
    return Path(found) if found else None


def need_tool(name: str) -> Path:
    """The program's path; skips the test, saying why, where it is not installed."""
    path = find_tool(name)
    if path is None:
        remedy = "`make test` fetches it" if name in FETCHED else "install it to run this"
        pytest.skip(f"{name} is neither on PATH nor in .tools/usr/bin; {remedy}")
    return path


def run(name: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """Runs a program that must succeed; what it said, for people to read when it did not."""
    done = subprocess.run([need_tool(name), *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@asynccontextmanager
async def running(name: str, *arguments: str, log: Path) -> AsyncIterator[None]:
    """Runs a server meanwhile, what it says going to `log`; ends it by its own process handle."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(need_tool(name), *arguments, stdout=output, stderr=output)
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def until(condition: Callable[[], Any], log: Path, seconds: float = 60.0) -> Any:
    """Waits for a condition and returns its value; past a generous deadline fails with the log's end."""
    try:
        async with asyncio.timeout(seconds):
            while not (value := condition()):  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"did not happen in {seconds} s; {log.name}:\n{tail(log)}") from None
    return value


def tail(log: Path) -> str:
    """The end of a log, to say why a test failed."""
    return log.read_text()[-4000:]
