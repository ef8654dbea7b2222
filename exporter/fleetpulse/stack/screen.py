"""What `fleetpulse up` shows in a terminal: progress, the table of addresses, what to try next, failures."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from fleetpulse.config import Settings
from fleetpulse.stack.children import Service

GRAFANA_HINT = (
    "Grafana is not installed, so its dashboards are left out: see https://grafana.com/grafana/download "
    "(no root needed: unpack the archive and put its bin folder on PATH)."
)


class TerminalScreen:
    """Shows the launcher's progress on a rich console."""

    def __init__(self, console: Console, services: Sequence[Service], settings: Settings) -> None:
        self._console = console
        self._services = services
        self._settings = settings
        self._status: Status | None = None

    def starting(self, waiting: Sequence[str]) -> None:
        """See Screen."""
        self._say(f"Waiting until healthy: {', '.join(waiting)}" if waiting else "All are healthy")

    def running(self) -> None:
        """See Screen."""
        self._quiet()
        self._console.print(self._table())
        if not any(service.name == "Grafana" for service in self._services):
            self._console.print(GRAFANA_HINT, style="yellow", soft_wrap=True)
        self._console.print(self._next_steps(), highlight=False, soft_wrap=True)

    def stopping(self, name: str) -> None:
        """See Screen."""
        self._say(f"Stopping {name}")

    def stopped(self) -> None:
        """See Screen."""
        self._quiet()
        self._console.print("All stopped.")

    def failed(self, what: str, tail: str, log: str) -> None:
        """See Screen."""
        self._quiet()
        self._console.print(f"[bold red]{escape(what)}[/]")
        if tail:
            self._console.print("Its last output:", style="dim")
            self._console.print(tail, markup=False, highlight=False, soft_wrap=True)
        if log:
            self._console.print(f"Its whole log: {log}", markup=False)

    def _table(self) -> Table:
        table = Table(title="Fleetpulse is up", title_justify="left")
        table.add_column("Part", no_wrap=True)
        table.add_column("Address", style="cyan", overflow="fold")
        table.add_column("Log", style="dim", overflow="fold")
        for service in self._services:
            table.add_row(service.name, service.url, _shown(service.log))
        return table

    def _next_steps(self) -> str:
        command, url = escape(own_command()), self._services[0].url
        where = "" if url == "http://127.0.0.1:8001" else f" --url {url}"
        return (
            "Try next, in another terminal:\n"
            f"  [bold]{command} demo{where}[/]\n"
            "      50 made-up requests and a small fleet\n"
            f"  [bold]{command} agent{where}[/]\n"
            "      this host's CPU and memory as heartbeats\n"
            f"  [bold]{command} replay FILE --set source=web --set model=gpt-4o{where}[/]\n"
            "      your own request logs, from CSV or JSONL\n"
            f"Then look at {url} and at Prometheus' alerts. [bold]Ctrl-C[/] here stops everything."
        )

    def _say(self, text: str) -> None:
        """A spinner in a terminal; plain lines elsewhere."""
        if not self._console.is_terminal:
            self._console.print(text, markup=False)
        elif self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _quiet(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def own_command() -> str:
    """How to call this program from the current folder."""
    beside = Path(sys.executable).with_name("fleetpulse")
    if shutil.which("fleetpulse") == str(beside) or not beside.is_file():
        return "fleetpulse"
    return _shown(beside)


def _shown(path: Path) -> str:
    """Relative to the current folder where it is below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
