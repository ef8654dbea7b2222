"""What people see of a recording: lines with colours, how messages are read, notices, and a summary."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from fleetpulse.cli.tap_session import Session, Tally
from fleetpulse.config import Source
from fleetpulse.tap.explain import explain
from fleetpulse.tap.happenings import CONNECTED, DISCONNECTED, FAILED, RETRYING
from fleetpulse.tap.output import Happened, Heard, Item, clock_time, happening, harmless, said, speaker

STYLES = {CONNECTED: "green", DISCONNECTED: "yellow", FAILED: "bold red", RETRYING: "yellow"}


class Screen:
    """Lines on a terminal, as an output of a recording."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def write(self, items: Sequence[Item]) -> int:
        """Shows all of them."""
        for each in items:
            self._console.print(_line(each), soft_wrap=True)
        return len(items)

    def close(self) -> None:
        """Nothing is held back."""


class Explanations:
    """Shows how each message is read, and keeps none."""

    def __init__(self, streams: Sequence[Source]) -> None:
        self._streams: Mapping[str, Source] = {each.name: each for each in streams}
        self._console = Console(highlight=False)

    def write(self, items: Sequence[Item]) -> int:
        """Explains messages; what happens to connections is told elsewhere."""
        for each in items:
            if isinstance(each, Heard):
                self._show(each)
        return len(items)

    def close(self) -> None:
        """Nothing is held back."""

    def _show(self, item: Heard) -> None:
        frame, _, rules = item.recorded
        self._console.print(Text(f"{item.stream} message {frame.number}", style="bold cyan"))
        for line in explain(self._streams[item.stream], frame).lines():
            self._console.print(Text(f"  {harmless(line)}"), soft_wrap=True)
        if rules:
            self._console.print(Text(f"  rules   {', '.join(rules)}", style="bold red"), soft_wrap=True)


class Notices:
    """What people are told beside the output, on stderr."""

    def __init__(self, *, connections: bool) -> None:
        """`connections`: whether to tell what happens to them, where the output does not show it."""
        self._console = Console(stderr=True, highlight=False)
        self._connections = connections

    def say(self, text: str) -> None:
        """Something that is wrong."""
        self._console.print(Text(f"fleetpulse: {text}", style="red"), soft_wrap=True)

    def happened(self, item: Happened) -> None:
        """What became of a connection."""
        if self._connections:
            words = f"{clock_time(item.at)} {item.stream} {happening(item)}"
            self._console.print(Text(words, style=STYLES.get(item.kind, "dim")), soft_wrap=True)

    def summary(self, session: Session, seconds: float) -> None:
        """What came of it, a line for each stream."""
        for name, tally in session.tallies.items():
            self._console.print(Text(f"{name}: {summary(tally, seconds)}"), soft_wrap=True)
        if session.writer.unwritten:
            self.say(f"{session.writer.unwritten} messages were received and could not be written")


def summary(tally: Tally, seconds: float) -> str:
    """One stream's sums in words."""
    parts = [
        f"{tally.messages:,} messages ({tally.bytes:,} bytes) in {seconds:.1f} s",
        f"{tally.connects} connections" + (f", {tally.without:.1f} s between them" if tally.connects > 1 else ""),
    ]
    if tally.written != tally.messages:
        parts.append(f"{tally.written:,} written")
    if tally.hits:
        parts.append("rules: " + ", ".join(f"{name} {count:,}" for name, count in tally.hits.most_common()))
    if tally.failed:
        parts.append(f"given up: {harmless(tally.failed)}")
    return "; ".join(parts)


def interactive() -> bool:
    """Whether somebody watches."""
    return sys.stdout.isatty()


def _line(item: Item) -> Text:
    if isinstance(item, Happened):
        line = Text().append(f"{clock_time(item.at)} ", style="dim")
        line.append(f"{item.stream} ", style="cyan")
        return line.append(happening(item), style=STYLES.get(item.kind, "dim"))
    reading = item.recorded.reading
    line = Text().append(f"{clock_time(item.recorded.frame.received_at)} ", style="dim")
    line.append(f"{item.stream} ", style="cyan")
    line.append(f"{harmless(reading.kind)} ", style="blue")
    line.append(f"{speaker(item)} ", style="green")
    line.append(said(item))
    if item.recorded.rules:
        line.append(f" [{', '.join(item.recorded.rules)}]", style="bold red")
    return line
