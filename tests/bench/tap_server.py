"""A WebSocket server that says a lot: `python tap_server.py RATE COUNT` prints its port, then serves one listener.

It sends COUNT chat messages of about 250 bytes, RATE a second, spread over each tenth of a second, the number of
each in its text; then it says goodbye. Text is English with a Chinese phrase, as bots see it. When all were sent it
prints how long that took: longer than COUNT / RATE where the listener took them more slowly.
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.server import ServerConnection, serve

USERS, ROOMS, TICK = 200, 20, 0.1


def message(number: int) -> str:
    """One message of the stream."""
    return json.dumps(
        {
            "type": "message",
            "message_id": f"m-{number}",
            "user_id": f"user-{number % USERS}",
            "session_id": f"room-{number % ROOMS}",
            "content": f"number {number}, 请求超时了, please look at the order of yesterday and tell the customer",
            "timestamp": time.time(),
        },
        ensure_ascii=False,
    )


async def say(listener: ServerConnection, rate: int, count: int) -> None:
    """Sends them all."""
    begun, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - begun) * rate) + 1)
        for number in range(sent, due):
            await listener.send(message(number))
        sent = due
        await asyncio.sleep(max(0.0, begun + sent / rate - time.monotonic()) if sent < count else 0)
    sys.stdout.write(f"{time.monotonic() - begun:.2f}\n")
    sys.stdout.flush()
    await listener.wait_closed()


async def main() -> None:
    """Serves until its standard input ends."""
    rate, count = int(sys.argv[1]), int(sys.argv[2])
    async with serve(lambda one: say(one, rate, count), "127.0.0.1", 0, compression=None) as server:
        sys.stdout.write(f"{next(iter(server.sockets)).getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
