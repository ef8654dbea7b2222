"""Runs the tests: the black-box ones (tests/system) in one process, all others in a second one beside it.

The two share nothing but the machine, and mostly wait for the programs they start, so together they take little
more than half the time. Every line they print comes out with the name of its half; the last two lines are the two
summaries. Arguments are pytest's, and go to both. The exit code is 0 only where both halves passed.
"""

import compileall
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "exporter" / "fleetpulse"
HALVES = {"system": ("tests/system",), "others": ("--ignore=tests/system",)}
WIDTH = max(map(len, HALVES))


def run(name: str) -> tuple[int, str]:
    """Runs one half to its end, printing as it goes; its exit code and its last line."""
    watched = sys.flags.dev_mode and name != "system"  # whose own process has none of the exporter's code
    python = [sys.executable, *(["-X", "dev"] if watched else []), "-u"]
    command = [*python, "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{name}", *HALVES[name], *sys.argv[1:]]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as half:  # noqa: S603 - ours
        assert half.stdout is not None  # noqa: S101 - it was asked for
        for line in half.stdout:
            last = line.strip() or last
            sys.stdout.write(f"{name:<{WIDTH}} | {line}")
            sys.stdout.flush()
    return half.returncode, last


def main() -> int:
    """Runs both. What they start by the hundred, they need not compile each time."""
    compileall.compile_dir(SOURCE, quiet=1)
    with ThreadPoolExecutor(len(HALVES)) as pool:
        ended = dict(zip(HALVES, pool.map(run, HALVES), strict=True))
    for name, (_, last) in ended.items():
        sys.stdout.write(f"{name}: {last.strip('= ')}\n")
    return max(code for code, _ in ended.values())


if __name__ == "__main__":
    sys.exit(main())
