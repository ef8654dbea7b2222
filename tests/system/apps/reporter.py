"""A program that reports through the client: `reporter.py MODE`; the environment says where to.

It prints the id of each record that the monitor says is on disk (or with the exporter), and nothing else.
"""

import atexit
import multiprocessing
import os
import sys
import threading
import time

from fleetpulse.client import monitor

BATCH = 20
ACCOUNTS = os.environ.get("REPORT_ACTIVITIES") == "yes"


def log(count: int) -> list[str]:
    """Some calls that cost something, each by a user of its own, and as many activities if asked; their ids."""
    return [*calls(count), *(activities(count) if ACCOUNTS else ())]


def calls(count: int) -> list[str]:
    """See `log`."""
    return [
        monitor.log(
            user_id=f"{os.getpid()}-{time.time_ns()}-{number}",
            command="app",
            model="m",
            execution_time=0.25,
            cost=1 / 64,
            input_tokens=3,
        )
        for number in range(count)
    ]


def activities(count: int) -> list[str]:
    """See `log`; told apart from calls by what is before the id."""
    ids = [monitor.activity(account_id=f"a{number % 3}", kind="message", count=2) for number in range(count)]
    return [f"activity:{one}" for one in ids if one]


def tell(ids: list[str]) -> None:
    """The ids, in one write, so that a process that is killed tells all of them or none."""
    os.write(1, "".join(f"{one}\n" for one in ids if one).encode())


def kept(count: int) -> None:
    """Logs, and tells of it once it is kept."""
    ids = log(count)
    if monitor.persist(60):
        tell(ids)


def endless() -> None:
    """Until somebody kills it."""
    while True:
        kept(BATCH)
        time.sleep(0.005)


def script() -> None:
    """Logs and ends, with no word about flushing."""
    tell(log(BATCH))


def fail() -> None:
    """The same, ending badly."""
    script()
    raise RuntimeError("the program fails")


def leave() -> None:
    """The same, from within."""
    script()
    sys.exit(3)


def late() -> None:
    """Threads that outlive the main one, and a function of the program's own at its end."""

    def after() -> None:
        time.sleep(0.3)
        script()

    monitor.log(request_id="first")
    atexit.register(script)
    threading.Thread(target=after).start()


def fork() -> None:
    """Children of a process with a busy monitor; each child logs, too, and some have children."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            kept(5)

    busy = threading.Thread(target=work)
    busy.start()
    for number in range(8):
        if os.fork() == 0:
            child(again=number % 2 == 0)
        time.sleep(0.02)
    for _ in range(8):
        os.wait()
    stop.set()
    busy.join()


def child(*, again: bool) -> None:
    """A forked process's life, with a child of its own."""
    kept(BATCH)
    grandchild = os.fork() if again else None
    if grandchild == 0:
        kept(BATCH)
    elif grandchild:
        os.waitpid(grandchild, 0)
    monitor.close(60)
    os._exit(0)


def work(_: int) -> list[str]:
    """A task of a pool."""
    return log(3)


def pool(method: str) -> None:
    """Workers of multiprocessing, which end without atexit."""
    log(1)
    context = multiprocessing.get_context(method)
    with context.Pool(3) as workers:
        ids = workers.map(work, range(30))
        workers.close()
        workers.join()
    for each in ids:
        tell(each)


def drain() -> None:
    """Sends what others left: it is adopted before anything is sent."""
    kept(1)
    while not monitor.flush(60):
        pass


def modules() -> None:
    """Prints what was imported after the library itself: by its threads, that is, whatever they did."""
    before = set(sys.modules)
    monitor.heartbeat(agent_id="a", interval=0.1)
    log(1)
    monitor.log(cost=float("nan"), unknown=1)  # type: ignore[call-arg]  # on purpose
    monitor.flush(60)
    while not monitor.stats().sent:
        time.sleep(0.1)
    time.sleep(0.5)
    monitor.close(60)
    tell(sorted(set(sys.modules) - before))


MODES = {
    "endless": endless,
    "script": script,
    "fail": fail,
    "leave": leave,
    "late": late,
    "fork": fork,
    "modules": modules,
    "pool-fork": lambda: pool("fork"),
    "pool-spawn": lambda: pool("spawn"),
    "drain": drain,
}

if __name__ == "__main__":
    MODES[sys.argv[1]]()
