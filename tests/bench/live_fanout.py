"""Fan-out of one topic to many clients: through the hub, against raw `transport.write` of the same bytes.

Both write to the same connections from the same loop, in turns, so that whatever else the machine does hits both.
A round is one message to every client; the hub's round includes publishing and encoding. Then the same with ten
messages a flush, which the hub joins into one write. Prints one JSON line. Claim: 85 % of raw.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop
from live_server import build, listen

from fleetpulse.config import Settings
from fleetpulse.live import LiveEncoder, frames
from fleetpulse.live.client import Transport
from fleetpulse.live.hub import Hub
from fleetpulse.live.messages import Message

HERE = Path(__file__).parent
TARGET = 0.85
DATA = {
    "request_id": "r" * 16,
    "source": "telegram",
    "status": "success",
    "execution_time": 1.25,
    "text": "x" * 200,
}


class Field:
    """The connections under test."""

    def __init__(self, hub: Hub, transports: list[Transport]) -> None:
        self.hub = hub
        self.transports = transports
        topic = hub._topics.open("requests")  # noqa: SLF001 - to make the same bytes without the hub
        message = Message(1_000, 0.0, "event", None, DATA, None)
        self.frame = frames.text(LiveEncoder().message(topic, message))

    def raw(self) -> None:
        """One message to everyone, as bytes that are already there."""
        for transport in self.transports:
            transport.write(self.frame)

    def through_hub(self, messages: int = 1) -> None:
        """Messages to everyone, published, encoded and flushed."""
        self.hub.publish_many("requests", [(None, dict(DATA)) for _ in range(messages)])
        self.hub.flush()

    async def time(self, action: Callable[[], None], rounds: int) -> float:
        """Seconds of some rounds, each until the kernel has every byte."""
        begun = time.perf_counter()
        for _ in range(rounds):
            action()
            await self._sent()
        return time.perf_counter() - begun

    async def _sent(self) -> None:
        await asyncio.sleep(0)
        while any(transport.get_write_buffer_size() for transport in self.transports):  # noqa: ASYNC110 - the kernel's
            await asyncio.sleep(0)


async def measure(field: Field, rounds: int, turns: int) -> dict[str, Any]:
    """Takes turns and compares."""
    await field.time(field.raw, rounds)
    await field.time(field.through_hub, rounds)
    ratios, raw, hub = [], [], []
    for _ in range(turns):
        raw.append(await field.time(field.raw, rounds))
        hub.append(await field.time(field.through_hub, rounds))
        raw.append(await field.time(field.raw, rounds))
        ratios.append((raw[-1] + raw[-2]) / 2 / hub[-1])
    joined = [await field.time(lambda: field.through_hub(10), rounds) for _ in range(turns // 3)]
    sends = rounds * len(field.transports)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "raw_per_second": round(sends / statistics.median(raw)),
        "hub_per_second": round(sends / statistics.median(hub)),
        "hub_joined_messages_per_second": round(10 * sends / statistics.median(joined)),
        "joined_ratio": round(10 * statistics.median(raw) / statistics.median(joined), 2),
    }


async def run(clients: int, rounds: int, turns: int) -> dict[str, Any]:
    """Serves, connects the readers in a process of their own, and measures."""
    app, hub = build(Settings(data_dir=Path("unused")))
    await hub.start()
    runner, port = await listen(app)
    readers = await asyncio.create_subprocess_exec(
        sys.executable,
        HERE / "live_readers.py",
        str(port),
        "/ws/live?topics=requests",
        str(clients),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert readers.stdout is not None
    await asyncio.wait_for(readers.stdout.readline(), 60)
    result = await measure(Field(hub, hub.transports), rounds, turns)
    assert readers.stdin is not None
    readers.stdin.close()
    await readers.wait()
    await hub.stop()
    await runner.cleanup()
    return result


def main() -> None:
    """Prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--turns", type=int, default=90)
    options = parser.parse_args()
    result = uvloop.run(run(options.clients, options.rounds, options.turns))
    head = {"bench": "live_fanout", "clients": options.clients, "target": TARGET}
    sys.stdout.write(json.dumps(head | result | {"met": result["ratio"] >= TARGET}) + "\n")
    sys.stdout.write(
        f"hub {result['hub_per_second']:,} sends/s, raw {result['raw_per_second']:,}: {result['ratio']:.0%}; "
        f"ten joined: {result['hub_joined_messages_per_second']:,} messages/s, {result['joined_ratio']}x raw\n"
    )


if __name__ == "__main__":
    main()
