"""WebSocket servers written by others, for Node: started, stopped, held and killed by the tests."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

SCRIPTS = Path(__file__).parent / "node"
PACKAGES = ("ws@8", "socket.io@4")
INSTALL_SECONDS = 90


def install(folder: Path) -> Path:
    """A folder with the servers and the packages that they need. Skips, and says why, where npm cannot get them."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("node and npm are not installed")
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {PACKAGES} within {INSTALL_SECONDS} s")
    if done.returncode:
        pytest.skip(f"npm cannot install {PACKAGES}: {done.stderr[-300:]}")
    return folder


class NodeServer:
    """One server process on one port."""

    def __init__(self, folder: Path, script: str, count: int) -> None:
        self._command = [shutil.which("node") or "node", str(folder / script)]
        self._count = count
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, on the port that it had before."""
        self.process = subprocess.Popen(
            [*self._command, str(self.port), str(self._count)], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._output().readline().split()[1])

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """Kills it."""
        if self.process is not None:
            self.process.kill()
            self._output().close()
            self.process.wait(20)
            self.process = None

    def _output(self) -> IO[Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout


@contextmanager
def node_server(folder: Path, script: str, count: int) -> Iterator[NodeServer]:
    """A server while the context lasts."""
    server = NodeServer(folder, script, count)
    try:
        yield server
    finally:
        server.stop()
