"""The monitor: what a program calls. See docs/client.md.

Promises: once it is made, nothing here raises into the caller or makes it wait for disk or network, but `flush`,
`persist` and `close`, which say for how long. Threads, files and the environment are touched at the first use, so
that a monitor may be made at import time and before a fork.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack, cast, overload

from fleetpulse.client import calls
from fleetpulse.client.activities import ActivityFields, encode_activity
from fleetpulse.client.complaints import log as logger
from fleetpulse.client.engine import Engine
from fleetpulse.client.environment import AUTO, Given, resolve
from fleetpulse.client.heartbeats import SHORTEST_INTERVAL, Heartbeat, Tasks
from fleetpulse.client.limits import Bounds
from fleetpulse.client.load import Load, Measure, meter
from fleetpulse.client.records import Record, RequestFields, encode
from fleetpulse.client.tally import Stats

F = TypeVar("F", bound=Callable[..., object])
Describe = Callable[..., Mapping[str, object]]
NAME = "a call"


class Monitor:
    """Reports to one exporter. One for a program is enough; it is safe to share between threads, tasks and forks.

    What is None comes from the environment: `FLEETPULSE_URL` (else http://127.0.0.1:8001), `FLEETPULSE_SOURCE`
    (else `OTEL_SERVICE_NAME`, else the program's name), `FLEETPULSE_APP_KEY` with `FLEETPULSE_APP_SECRET`, or
    `FLEETPULSE_TOKEN`; `FLEETPULSE_ENABLED=false` switches everything off. `spool` is the folder for records that
    the server does not have yet: by default `FLEETPULSE_SPOOL`, else one in the user's state folder; None keeps
    them in memory.

    Bounds: `queue_size` records wait for the disk, `spool_bytes` on disk, `memory_bytes` in memory where there is
    no disk. A batch has at most `batch_size` records and waits `interval` seconds to fill. `timeout` bounds one
    exchange with the server, `exit_timeout` what the end of the program may wait. `fsync` makes the spool outlive
    the machine, not only the process.

    Raises ValueError for arguments that cannot work. What cannot work in the environment is logged instead, and
    switches the monitor off: a typing mistake there must not stop a program.
    """

    def __init__(  # noqa: PLR0913 - every one keyword-only and optional
        self,
        url: str | None = None,
        *,
        source: str | None = None,
        app_key: str | None = None,
        app_secret: str | None = None,
        token: str | None = None,
        spool: str | os.PathLike[str] | None = AUTO,
        spool_bytes: int = Bounds.spool_bytes,
        memory_bytes: int = Bounds.memory_bytes,
        queue_size: int = Bounds.queue_size,
        batch_size: int = Bounds.batch_size,
        interval: float = Bounds.interval,
        timeout: float = Bounds.timeout,
        exit_timeout: float = Bounds.exit_timeout,
        fsync: bool = False,
        enabled: bool | None = None,
    ) -> None:
        self._given = Given(url, source, app_key, app_secret, token, spool, enabled)
        self._bounds = Bounds(
            queue_size, spool_bytes, memory_bytes, batch_size, interval, timeout, exit_timeout, fsync=fsync
        )
        resolve(self._given, {})  # what is wrong in code is told at once
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._source = ""
        self._off = False

    # Requests -----------------------------------------------------------------------------------------------------
    def log(self, **fields: Unpack[RequestFields]) -> str:
        """Logs one call, see RequestFields; returns its request id, or "" where it cannot be kept. Never waits."""
        try:
            return self._log(fields)
        except Exception as error:  # noqa: BLE001 - never into the caller
            self._reject(error)
            return ""

    async def log_request(self, **fields: Unpack[RequestFields]) -> str:
        """`log` for those who await; nothing is awaited inside, so any event loop will do, and it never waits."""
        return self.log(**fields)

    def request(self, **fields: Unpack[RequestFields]) -> calls.Call:
        """A call to be timed and classified: `with monitor.request(command="chat") as call:`."""
        return calls.Call(self.log, fields)

    @overload
    def track(self, function: F, /) -> F: ...

    @overload
    def track(
        self,
        function: None = None,
        /,
        *,
        usage: bool = False,
        describe: Describe | None = None,
        **fields: Unpack[RequestFields],
    ) -> Callable[[F], F]: ...

    def track(
        self,
        function: F | None = None,
        /,
        *,
        usage: bool = False,
        describe: Describe | None = None,
        **fields: object,
    ) -> F | Callable[[F], F]:
        """Decorates a function, plain, async or a generator: each call of it is timed, classified and logged.

        `usage` takes tokens and model from what it returns or yields (see `Call.usage`). `describe` gets the call's
        arguments and gives further fields; what it raises is logged, not raised. The default command is the
        function's name.
        """

        def decorate(function: F) -> F:
            named = cast("RequestFields", {"command": getattr(function, "__qualname__", NAME), **fields})
            return calls.track(function, partial(self._begin, named, describe), usage=usage)

        return decorate if function is None else decorate(function)

    # Group accounts -----------------------------------------------------------------------------------------------
    def activity(self, **fields: Unpack[ActivityFields]) -> str:
        """Logs what a group account did, see ActivityFields; its id, or "" where it cannot be kept. Never waits."""
        try:
            return self._activity(fields)
        except Exception as error:  # noqa: BLE001 - never into the caller
            self._reject(error)
            return ""

    async def log_activity(self, **fields: Unpack[ActivityFields]) -> str:
        """`activity` for those who await; as with `log_request`, nothing is awaited inside."""
        return self.activity(**fields)

    # Agents -------------------------------------------------------------------------------------------------------
    def heartbeat(  # noqa: PLR0913 - every one keyword-only, and all but one optional
        self,
        *,
        agent_id: str,
        status: str = "online",
        running_tasks: Tasks = (),
        interval: float = 30.0,
        agent_name: str | None = None,
        pool_id: str | None = None,
        measure: Measure | Callable[[], Load] = "host",
    ) -> Heartbeat:
        """Sends heartbeats of this agent from now on, every `interval` seconds, and `offline` at the end.

        `running_tasks` are ids or `{"task_id", "task_type", "workspace_id", "started_at"}`, or a function that
        gives them, called in the background. `measure`: CPU and memory of the "host" or of this "process", or a
        function that gives both, 0-100.
        """
        read = measure if callable(measure) else meter(measure)
        beat = Heartbeat(str(agent_id), status, SHORTEST_INTERVAL, read, running_tasks, agent_name, pool_id)
        try:
            beat.interval = max(SHORTEST_INTERVAL, float(interval))
            engine = self._running()
            if engine is not None:
                engine.beats.add(beat)
        except Exception as error:  # noqa: BLE001 - never into the caller
            self._complain("heartbeat", f"no heartbeats of {beat.agent_id}: {error!r:.300}")
        return beat

    # What became of it --------------------------------------------------------------------------------------------
    def flush(self, timeout: float = 10.0) -> bool:
        """Waits until the server has all that was logged before. Says whether it has, as far as this process knows.

        False: time ran out, or records were rejected or dropped since the last flush (`stats` tells them apart).
        Blocks: in async code, `await asyncio.to_thread(monitor.flush)`.
        """
        engine = self._engine
        return engine is None or engine.flush(timeout)

    def persist(self, timeout: float = 5.0) -> bool:
        """Waits until all that was logged before is in the spool on disk, or with the server. Says whether."""
        engine = self._engine
        return engine is None or engine.persist(timeout)

    def stats(self) -> Stats:
        """What became of this process's records, in numbers."""
        engine = self._engine
        return Stats() if engine is None else engine.stats()

    def close(self, timeout: float | None = None) -> bool:
        """Sends what it can in `timeout` seconds (`exit_timeout`), leaves the rest in the spool, and ends for good.

        Agents say `offline`. Says whether the server has everything. Called by itself at the program's end.
        """
        with self._lock:
            engine, self._off = self._engine, True
            atexit.unregister(self.close)
        return engine is None or engine.close(self._bounds.exit_timeout if timeout is None else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Inside -------------------------------------------------------------------------------------------------------
    def _log(self, fields: RequestFields) -> str:
        engine = self._engine or self._running()
        if engine is None:
            return ""
        return self._put(engine, encode(fields, self._source), "a call")

    def _activity(self, fields: ActivityFields) -> str:
        engine = self._engine or self._running()
        return "" if engine is None else self._put(engine, encode_activity(fields), "an activity")

    @staticmethod
    def _put(engine: Engine, record: Record, what: str) -> str:
        if record.unknown:
            engine.complain("unknown", f"unknown fields of {what} are left out: {', '.join(record.unknown):.200}")
        return record.key if engine.put(record.line) else ""

    def _begin(
        self,
        named: RequestFields,
        describe: Describe | None,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> calls.Call:
        fields = named
        if describe is not None:
            try:
                fields = cast("RequestFields", {**named, **describe(*args, **kwargs)})
            except Exception as error:  # noqa: BLE001 - never into the caller
                self._complain("describe", f"what describes a call failed: {error!r:.300}")
        return calls.Call(self.log, fields)

    def _reject(self, error: Exception) -> None:
        engine = self._engine
        if engine is not None:
            engine.reject(f"{error!r:.300}")

    def _complain(self, kind: str, text: str) -> None:
        engine = self._engine
        if engine is not None:
            engine.complain(kind, text)

    def _running(self) -> Engine | None:
        """This process's engine, made at its first use; None where the monitor is switched off."""
        with self._lock:
            if self._engine is None and not self._off:
                self._begin_process()
            return self._engine

    def _begin_process(self) -> None:
        try:
            resolved = resolve(self._given)
        except (ValueError, RuntimeError, OSError) as error:
            logger.error("nothing is reported: the environment's FLEETPULSE settings do not work: %s", error)
            self._off = True
            return
        if not resolved.enabled:
            self._off = True
            return
        self._source = resolved.source
        engine = Engine(resolved, self._bounds)
        if self._engine is not None:  # a signal's handler on this very thread was here meanwhile
            return
        self._engine = engine
        atexit.register(self.close)
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=partial(_after_fork, weakref.ref(self)))

    def _forget(self) -> None:
        """In a forked child: what the parent logged is the parent's to send; the child begins anew."""
        self._lock = threading.RLock()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.abandon()


def _after_fork(reference: "weakref.ref[Monitor]") -> None:
    monitor = reference()
    if monitor is not None:
        monitor._forget()  # noqa: SLF001 - a function of its own only so that the hook holds no monitor alive
