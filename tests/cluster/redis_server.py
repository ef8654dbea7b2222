"""A real Redis on a Unix socket of its own, which keeps nothing; it may be killed and started again."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.tools import need_tool

DEADLINE = 30.0


class RedisServer:
    """`redis-server` in a folder of its own. `url` is its address."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._password = password
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it empty, and waits until it answers."""
        program = need_tool("redis-server")
        secret = ["--requirepass", self._password] if self._password else []
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    "--port",
                    "0",
                    "--unixsocket",
                    str(self.socket),
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                    *secret,
                ],
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "redis.log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: connections break off, and everything is forgotten."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
            self._process = None
            self.socket.unlink(missing_ok=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and says nothing, within."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Sends a command; returns the beginning of the answer."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(DEADLINE)
            line.connect(str(self.socket))
            parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
            line.sendall(b"*%d\r\n" % len(words) + b"".join(parts))
            return line.recv(4_096)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as trial:
                trial.settimeout(1)
                trial.connect(str(self.socket))
                trial.sendall(b"PING\r\n")
                return trial.recv(64)[:1] in (b"+", b"-")
        except OSError:
            return False


def started_redis() -> Iterator[RedisServer]:
    """A fixture's Redis, in a folder whose path is short enough for a socket."""
    with TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
