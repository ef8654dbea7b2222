"""Heartbeats in the background: one thread, a connection of its own, each agent at its own interval.

Promises: only the newest is sent, none is queued; the server's absence is told once in a while and outlived; at the
end each agent says `offline`. Refuses: to live on in a forked child, which is another agent.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from fleetpulse.client.complaints import Complaints
from fleetpulse.client.load import Load
from fleetpulse.client.transport import JSON, ExchangeError, Transport

FIRST_PAUSE = 0.3  # a moment to measure the load over
SHORTEST_INTERVAL = 0.1
MAX_TASKS = 1_000
OK_BELOW = 300

Task = Mapping[str, object] | str | int
Tasks = Iterable[Task] | Callable[[], Iterable[Task]]


@dataclass(eq=False)
class Heartbeat:
    """One agent's heartbeats; what `Monitor.heartbeat` gives. Set `status` at any time; the next beat tells it."""

    agent_id: str
    status: str
    interval: float
    measure: Callable[[], Load]
    tasks: Tasks = ()
    agent_name: str | None = None
    pool_id: str | None = None
    due: float = 0.0
    stopped: bool = False
    _own: dict[int, dict[str, object]] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def task(
        self, task_type: str = "task", *, task_id: str | int | None = None, workspace_id: str | None = None
    ) -> Iterator[None]:
        """While this lasts, the agent says that it runs this task."""
        number = next(self._numbers)
        said: dict[str, object] = {"task_id": number if task_id is None else task_id, "task_type": str(task_type)}
        said["started_at"] = datetime.now(UTC).isoformat()
        if workspace_id is not None:
            said["workspace_id"] = str(workspace_id)
        self._own[number] = said
        try:
            yield
        finally:
            self._own.pop(number, None)

    def stop(self) -> None:
        """Says `offline` soon, and no more after that."""
        self.stopped, self.due = True, 0.0

    def body(self) -> bytes:
        """What is sent. Raises whatever `running_tasks` and `measure` of the program do."""
        cpu, memory = self.measure()
        said: dict[str, object] = {
            "status": "offline" if self.stopped else str(self.status),
            "cpu_usage": cpu,
            "memory_usage": memory,
            "running_tasks": [] if self.stopped else self._running(),
            "agent_name": self.agent_name or self.agent_id,
        }
        if self.pool_id is not None:
            said["pool_id"] = self.pool_id
        return json.dumps(said, default=str).encode("utf-8", "replace")

    def _running(self) -> list[Mapping[str, object]]:
        given = self.tasks() if callable(self.tasks) else self.tasks
        every = itertools.chain(list(self._own.values()), given)
        return [_task(each) for each in itertools.islice(every, MAX_TASKS)]


def _task(task: Task) -> Mapping[str, object]:
    return task if isinstance(task, Mapping) else {"task_id": task}


class Beats:
    """All heartbeats of one process."""

    def __init__(self, transport: Transport, complaints: Complaints) -> None:
        self._transport = transport
        self._complaints = complaints
        self._beats: dict[str, Heartbeat] = {}
        self._lock = threading.RLock()
        self._changed = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    def add(self, beat: Heartbeat) -> None:
        """Begins to send, instead of another of the same id. Raises RuntimeError where no thread can be had."""
        with self._lock:
            beat.due = time.monotonic() + min(FIRST_PAUSE, beat.interval)
            self._beats[beat.agent_id] = beat
            if self._thread is None and not self._ending:
                thread = threading.Thread(target=self._run, name="fleetpulse-heartbeats", daemon=True)
                thread.start()
                self._thread = thread
        self._changed.set()

    def stop(self) -> None:
        """Has every agent say `offline`, and ends."""
        self._ending = True
        for beat in list(self._beats.values()):
            beat.stop()
        self._changed.set()

    def abandon(self) -> None:
        """Closes a forked child's handle of the connection, which is the parent's."""
        self._transport.close()

    def join(self, timeout: float) -> None:
        """Waits for the end so long."""
        if self._thread is not None:
            self._thread.join(max(0.05, timeout))

    def _run(self) -> None:
        while not self._ending or self._beats:
            self._changed.wait(self._pause())
            self._changed.clear()
            now = time.monotonic()
            for beat in [each for each in list(self._beats.values()) if each.due <= now]:
                self._beat(beat)
        self._transport.close()

    def _pause(self) -> float | None:
        dues = [beat.due for beat in list(self._beats.values())]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _beat(self, beat: Heartbeat) -> None:
        leaving = beat.stopped
        beat.due = time.monotonic() + beat.interval
        try:
            self._send(beat)
        except ExchangeError as error:
            self._complaints.note("heartbeat", f"the heartbeat of {beat.agent_id} is not taken: {error}")
        except Exception as error:  # noqa: BLE001 - whatever the program's own functions do
            self._complaints.note("tasks", f"no heartbeat of {beat.agent_id} can be made: {error!r:.300}")
        self._complaints.tell()
        if leaving and self._beats.get(beat.agent_id) is beat:
            del self._beats[beat.agent_id]

    def _send(self, beat: Heartbeat) -> None:
        path = f"/api/v1/agents/{quote(beat.agent_id, safe='')}/ping"
        answer = self._transport.post(path, beat.body(), JSON)
        if answer.status >= OK_BELOW:
            raise ExchangeError(f"HTTP {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}")
        self._complaints.over("heartbeat", f"the heartbeat of {beat.agent_id} is taken again")
