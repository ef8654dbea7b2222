"""Real processes for the black-box tests: the exporter, Prometheus and Alertmanager, on free loopback ports.

Knows the project only from outside: its command line, its settings, its files, its HTTP addresses.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.tools import ROOT, need_tool

DEADLINE = 60.0
PAUSE = 0.05
STOP_DEADLINE = 30.0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without any setting of Fleetpulse or OpenTelemetry, plus `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETPULSE_", "OTEL_"))}
    return kept | variables


def wait_for(predicate: Callable[[], Any], timeout: float = DEADLINE, what: str = "") -> Any:
    """The first truthy result of `predicate`; fails the test when there is none in `timeout` seconds.

    A refused connection or an unready answer counts as "not yet".
    """
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            if last := predicate():
                return last
        except (OSError, urllib.error.URLError, ValueError) as error:
            last = error
        time.sleep(PAUSE)
    raise AssertionError(f"not within {timeout:.0f} s: {what or predicate}; last seen: {last!r}")


def get(url: str, headers: Mapping[str, str] | None = None) -> str:
    """The body of a GET; raises HTTPError for an error status."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - addresses made by the tests
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:  # noqa: S310
        return str(response.read().decode())


def get_json(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON of a GET."""
    return json.loads(get(url, headers))


def post(url: str, payload: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """Posts JSON; returns the status and the answer's JSON, for error statuses too."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(payload).encode(), sent)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:  # noqa: S310
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def is_ready(url: str) -> bool:
    """Whether a GET is answered with 200."""
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
        return bool(response.status == 200)


class Program:
    """One process with its output in a file; stopped for certain by `stop`."""

    def __init__(
        self, name: str, command: list[str], ready_url: str, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._ready_url = ready_url
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def start(self, *, wait: bool = True) -> None:
        """Starts it, and waits until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Waits until it is ready; fails with its log when it ends instead."""
        wait_for(self._ready_or_dead, what=f"{self.name} ready at {self._ready_url}")
        assert self.process.poll() is None, f"{self.name} ended:\n{self.output()}"

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel's memory killer would."""
        self.process.kill()
        self.process.wait(STOP_DEADLINE)

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        return self.end(signal.SIGTERM)

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_DEADLINE)

    def stop(self) -> None:
        """Makes sure that it does not run any more."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def output(self) -> str:
        """Everything it printed so far."""
        return self.log.read_text(errors="replace")

    def _ready_or_dead(self) -> bool:
        return self.process.poll() is not None or is_ready(self._ready_url)


class Exporter(Program):
    """`fleetpulse serve` on a free port with a data folder of its own; `start` again keeps both."""

    def __init__(self, folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / "data"
        own = {"FLEETPULSE_PORT": str(self.port), "FLEETPULSE_DATA_DIR": str(self.data_dir)}
        super().__init__(
            "exporter",
            [sys.executable, "-m", "fleetpulse", "serve"],
            f"{self.url}/-/ready",
            folder / "exporter.log",
            clean_environment(**own, **settings),
        )

    def post(self, path: str, payload: Any) -> tuple[int, Any]:
        """Posts JSON to a path; status and JSON."""
        return post(self.url + path, payload)

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return get_json(self.url + path)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name with labels as exposed."""
        samples = {}
        for line in get(f"{self.url}/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples


class Stack:
    """An exporter with a real Prometheus and a real Alertmanager around it, configured from the committed files."""

    def __init__(self, folder: Path, **settings: str) -> None:
        prometheus, alertmanager = free_port(), free_port()
        self.prometheus_url = f"http://127.0.0.1:{prometheus}"
        self.alertmanager_url = f"http://127.0.0.1:{alertmanager}"
        self.exporter = Exporter(
            folder,
            FLEETPULSE_STACK__PROMETHEUS_PORT=str(prometheus),
            FLEETPULSE_STACK__ALERTMANAGER_PORT=str(alertmanager),
            **settings,
        )
        self.exporter_url = self.exporter.url
        self.prometheus = self._prometheus(folder)
        self.alertmanager = self._alertmanager(folder)

    @property
    def programs(self) -> tuple[Program, ...]:
        """All three, in the order they are started."""
        return self.exporter, self.alertmanager, self.prometheus

    def start(self) -> None:
        """Starts all, then waits until all are ready."""
        for program in self.programs:
            program.start(wait=False)
        for program in self.programs:
            program.wait_ready()

    def stop(self) -> None:
        """Stops all."""
        for program in reversed(self.programs):
            program.stop()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query's result: `[{"metric": {…}, "value": [time, "text"]}]`."""
        where = f"{self.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        result: list[dict[str, Any]] = get_json(where)["data"]["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The single value of an instant query, None while there is none."""
        result = self.query(expression)
        assert len(result) < 2, f"{expression} gives {len(result)} series"
        return float(result[0]["value"][1]) if result else None

    @staticmethod
    def wait_for(predicate: Callable[[], Any], timeout: float = DEADLINE, what: str = "") -> Any:
        """See `wait_for` of this module."""
        return wait_for(predicate, timeout, what)

    def _prometheus(self, folder: Path) -> Program:
        config = folder / "prometheus"
        shutil.copytree(ROOT / "prometheus", config)
        for name, url in (
            ("fleetpulse", self.exporter_url),
            ("prometheus", self.prometheus_url),
            ("alertmanager", self.alertmanager_url),
        ):
            (config / "targets" / f"{name}.yml").write_text(
                json.dumps([{"targets": [url.removeprefix("http://")]}])
            )
        return Program(
            "Prometheus",
            [
                str(need_tool("prometheus")),
                f"--config.file={config / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus-data'}",
                f"--web.listen-address={self.prometheus_url.removeprefix('http://')}",
                f"--web.external-url={self.prometheus_url}",
                "--enable-feature=exemplar-storage",
            ],
            f"{self.prometheus_url}/-/ready",
            folder / "prometheus.log",
            clean_environment(),
        )

    def _alertmanager(self, folder: Path) -> Program:
        config = folder / "alertmanager"
        shutil.copytree(ROOT / "alertmanager", config)
        main = config / "alertmanager.yml"
        main.write_text(main.read_text().replace("http://127.0.0.1:8001/", f"{self.exporter_url}/"))
        return Program(
            "Alertmanager",
            [
                str(need_tool("alertmanager")),
                f"--config.file={main}",
                f"--storage.path={folder / 'alertmanager-data'}",
                f"--web.listen-address={self.alertmanager_url.removeprefix('http://')}",
                f"--web.external-url={self.alertmanager_url}",
                "--cluster.listen-address=",
            ],
            f"{self.alertmanager_url}/-/ready",
            folder / "alertmanager.log",
            clean_environment(),
        )


S = TypeVar("S", bound=Program | Stack)


def started(it: S) -> Iterator[S]:
    """The life of a fixture: starts it, gives it, and stops it however the tests end."""
    try:
        it.start()
        yield it
    finally:
        it.stop()
