"""Memory of idle live connections: 5,000 subscribed feeds on the hub against as many on a bare aiohttp handler.

Prints one JSON line. Claim: under 20 KiB a connection, subscribed, with its snapshot sent. Resident memory of
the server process alone; sockets' kernel buffers are the kernel's.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
TARGET_KIB = 20.0


def start(*arguments: str) -> subprocess.Popen[str]:
    """A program of this folder, talking over pipes; it ends when its input does."""
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def stop(process: subprocess.Popen[str]) -> None:
    """Ends its input and waits."""
    process.communicate(timeout=30)


def resident(process: subprocess.Popen[str]) -> int:
    """Resident bytes of a process."""
    return int(psutil.Process(process.pid).memory_info().rss)


def measure(kind: str, path: str, connections: int, settle: float) -> float:
    """KiB a connection of one kind of server."""
    server = start("live_server.py", kind)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    warm = start("live_readers.py", port, path, "100")  # what the first connections load is no connection's
    assert warm.stdout is not None
    warm.stdout.readline()
    stop(warm)
    before = resident(server)
    clients = start("live_readers.py", port, path, str(connections))
    assert clients.stdout is not None
    if clients.stdout.readline().strip() != "ready":
        raise SystemExit("the clients could not connect")
    time.sleep(settle)
    after = resident(server)
    stop(clients)
    stop(server)
    return (after - before) / connections / 1024


def main() -> None:
    """Measures both and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--settle", type=float, default=3.0, help="seconds between connecting and measuring")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    live = measure("hub", "/ws/live?topics=agents/default", options.connections, options.settle)
    pool = measure("hub", "/ws/agent-pools/default/metrics", options.connections, options.settle)
    bare = measure("bare", "/", options.connections, options.settle)
    result = {
        "bench": "live_idle",
        "connections": options.connections,
        "live_kib": round(live, 2),
        "pool_kib": round(pool, 2),
        "bare_aiohttp_kib": round(bare, 2),
        "ratio": round(live / bare, 3),
        "target_kib": TARGET_KIB,
        "met": max(live, pool) < TARGET_KIB,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.write(
        f"/ws/live {live:.1f} KiB, pool feed {pool:.1f} KiB, bare aiohttp {bare:.1f} KiB a connection\n"
    )


if __name__ == "__main__":
    main()
