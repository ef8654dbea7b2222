"""How busy this machine or this process is, in percent: from /proc on Linux, elsewhere from psutil where that is.

What cannot be measured is 0, since a heartbeat without numbers is still a heartbeat.
"""

import importlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

Measure = Literal["host", "process"]
Load = tuple[float, float]
STAT, MEMORY, OWN_MEMORY = Path("/proc/stat"), Path("/proc/meminfo"), Path("/proc/self/statm")
FULL = 100.0


def meter(measure: Measure) -> Callable[[], Load]:
    """A function that tells CPU since its last call and memory now, 0-100: of the host, or this process's share.

    A process's CPU is the share of all processors, its memory the resident share of the machine's.
    """
    reader = _read_host if measure == "host" else _read_process
    if not STAT.exists():
        reader = _with_psutil(measure)
    before = [_safely(reader)]

    def read() -> Load:
        now = _safely(reader)
        (busy, total, memory), (busy_before, total_before, _) = now, before[0]
        before[0] = now
        return _percent(busy - busy_before, total - total_before), _percent(memory, 1.0)

    return read


Sample = tuple[float, float, float]  # busy time, all time, memory in use as a share


def _safely(reader: Callable[[], Sample]) -> Sample:
    with suppress(OSError, ValueError, IndexError, KeyError):
        return reader()
    return 0.0, 0.0, 0.0


def _percent(part: float, whole: float) -> float:
    return min(FULL, max(0.0, FULL * part / whole)) if whole > 0 else 0.0


def _read_host() -> Sample:
    """proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user already."""
    ticks = [int(word) for word in STAT.read_text("utf-8").split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    memory = _memory()
    return sum(ticks) - idle, sum(ticks), 1.0 - memory["MemAvailable"] / memory["MemTotal"]


def _read_process() -> Sample:
    resident = int(OWN_MEMORY.read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
    return *_own_time(), resident / _memory()["MemTotal"]


def _memory() -> dict[str, int]:
    """/proc/meminfo in KiB."""
    lines = (line.split() for line in MEMORY.read_text("utf-8").splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def _own_time() -> tuple[float, float]:
    return time.process_time(), time.monotonic() * (os.cpu_count() or 1)


def _with_psutil(measure: Measure) -> Callable[[], Sample]:
    """The same by psutil, which is used where it is installed and never asked for."""
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return lambda: (*(_own_time() if measure == "process" else (0.0, 0.0)), 0.0)

    def host() -> Sample:
        times = psutil.cpu_times()
        return sum(times) - times.idle, sum(times), psutil.virtual_memory().percent / FULL

    def process() -> Sample:
        return *_own_time(), psutil.Process().memory_percent() / FULL

    return host if measure == "host" else process
