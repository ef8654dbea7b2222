"""Compression that is asked for: bytes on the wire, time, and what a connection would hold otherwise.

5,000 messages as `/ws/live` sends them, and a snapshot of 200 agents, are framed plain and deflated, each message
by itself, as one audience shares them; beside it, a compressor that keeps its context, as libraries have one for
each connection, and the memory of 500 of those after one message. The hub's own way holds nothing for a
connection. Prints one JSON line. Claims: events by themselves are small and alike, so a quarter is saved; of a
snapshot four fifths.
"""

import json
import sys
import time
import zlib

import orjson
import psutil

from fleetpulse.live.wires import DEFLATED, WEBSOCKET

MESSAGES = 5_000
CONNECTIONS = 500
EVENTS_TARGET = 0.75
SNAPSHOT_TARGET = 0.2


def messages() -> list[bytes]:
    """Requests as they are sent, with texts of their own."""
    shown = []
    for n in range(MESSAGES):
        data = {
            "request_id": f"req-{n * 2_654_435_761 % 2**32:08x}",
            "source": ("telegram", "discord", "wechat", "web")[n % 4],
            "user_id": f"user-{n * 7919 % 1000}",
            "command": "summarise the conversation so far and answer the last question",
            "status": "success" if n % 10 else "error",
            "model": ("gpt-4o", "claude-sonnet-4", "gemini-2.5-pro")[n % 3],
            "execution_time": n % 977 / 100,
            "total_tokens": n * 31 % 5_000,
            "cost": n * 17 % 997 / 10_000,
            "received_at": f"2025-10-09T08:{n // 60 % 60:02}:{n % 60:02}.123Z",
        }
        shown.append(orjson.dumps({"type": "event", "topic": "requests", "offset": n, "key": None, "data": data}))
    return shown


def snapshot() -> bytes:
    """200 agents."""
    agents = [
        {
            "agent_id": f"agent-{n}",
            "agent_name": f"worker {n}",
            "cpu_usage": n * 37 % 1_000 / 10,
            "memory_usage": n * 91 % 1_000 / 10,
            "running_tasks": [{"task_id": n * 7919 % 10_000, "task_type": "reply", "workspace_id": n % 9}],
            "last_update_time": f"2025-10-09T08:53:{n % 60:02}.{n * 13 % 1000:03}Z",
            "status": "busy" if n % 3 else "idle",
        }
        for n in range(200)
    ]
    return orjson.dumps({"type": "snapshot", "topic": "agents", "offset": 1, "data": agents})


def resident() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Measures and prints."""
    payloads = messages()
    plain = sum(len(WEBSOCKET.frame(payload)) for payload in payloads)
    begun = time.perf_counter()
    deflated = sum(len(DEFLATED.frame(payload)) for payload in payloads)
    each = (time.perf_counter() - begun) / MESSAGES
    keeper = zlib.compressobj(wbits=-15)
    kept = sum(len(keeper.compress(payload) + keeper.flush(zlib.Z_SYNC_FLUSH)) for payload in payloads)
    before = resident()
    keepers = [zlib.compressobj(wbits=-15) for _ in range(CONNECTIONS)]
    for compressor in keepers:
        compressor.compress(payloads[0])
    held = (resident() - before) / CONNECTIONS / 1024
    state = snapshot()
    whole = len(DEFLATED.frame(state)) / len(state)
    result = {
        "bench": "live_deflate",
        "ratio": round(deflated / plain, 3),
        "snapshot_ratio": round(whole, 3),
        "ratio_with_context": round(kept / plain, 3),
        "microseconds_a_message": round(each * 1e6, 1),
        "kib_a_connection_with_context": round(held, 1),
        "targets": [EVENTS_TARGET, SNAPSHOT_TARGET],
        "met": deflated / plain <= EVENTS_TARGET and whole <= SNAPSHOT_TARGET,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
