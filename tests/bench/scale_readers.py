"""Many WebSocket readers in one process, which note when the last of them had each message of each topic.

`python scale_readers.py` reads one JSON object from a line of its standard input: `{port, path, topics: [{name,
field, keep}], each, stall}`: so many sockets for `each` topic, of which `stall` can be told to stop reading.
`field` is the JSON field whose number grows with every message of the topic; `keep` is how many bytes of each
socket's end are kept. Then it obeys words on its standard input: `mark` forgets what was noted so far, `stall`
stops reading some sockets, `report` prints when the last socket had what, `final` what each socket has seen. Times
are of the machine's monotonic clock, in seconds.
"""

import json
import os
import re
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

from live_readers import connect

CHUNK = 262_144
ALIVE_SECONDS = 15.0
TURNS = 150  # of so many sockets each in that time: clients that know nothing of each other do not speak at once
PONG = bytes((0x8A, 0x80, 0, 0, 0, 0))  # masked, as a client's frames are


class Topic:
    """One topic's sockets, and when its messages had reached the last of them."""

    def __init__(self, name: str, field: str, keep: int) -> None:
        self.name = name
        self.marker = f'"{field}":'.encode()
        self.keep = keep
        self.live = 0
        self.reached: dict[int, int] = {}  # how many sockets have the message, or one after it
        self.last: dict[int, float] = {}

    def advance(self, before: int, upto: int, now: float) -> None:
        """A socket has come from one message to another."""
        reached, live = self.reached, self.live
        for number in range(before + 1, upto + 1):
            count = reached.get(number, 0) + 1
            if count >= live:
                self.last[number] = now
                reached.pop(number, None)
            else:
                reached[number] = count


class Reader:
    """One socket: how far it has come, and the end of what it read."""

    __slots__ = ("end", "kept", "number", "sock", "topic")

    def __init__(self, sock: socket.socket, topic: Topic) -> None:
        self.sock = sock
        self.topic = topic
        self.number = -1  # until its first message
        self.end: deque[bytes] = deque()
        self.kept = 0

    def take(self, data: bytes, now: float) -> None:
        """Notes the newest whole message in what has arrived; one that is cut counts with the next piece."""
        self._keep(data)
        topic = self.topic
        at = data.rfind(topic.marker)
        while at >= 0:
            start = at + len(topic.marker)
            end = data.find(b",", start)
            if end > 0:
                number = int(data[start:end])
                if self.number >= 0:
                    topic.advance(self.number, number, now)
                self.number = max(self.number, number)
                return
            at = data.rfind(topic.marker, 0, at)

    def _keep(self, data: bytes) -> None:
        self.end.append(data)
        self.kept += len(data)
        while self.kept - len(self.end[0]) > self.topic.keep:
            self.kept -= len(self.end.popleft())


class Crowd:
    """All readers."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.poll = select.epoll()
        self.topics = [Topic(each["name"], each["field"], each["keep"]) for each in plan["topics"]]
        self.readers: dict[int, Reader] = {}
        self.stalling: list[int] = []
        self.aside: list[Reader] = []
        self.closed = 0
        self.turn = 0
        self.alive_at = time.monotonic() + ALIVE_SECONDS / TURNS
        for topic in self.topics:
            for place in range(plan["each"]):
                stalls = place < plan["stall"]
                sock = connect(plan["port"], plan["path"].format(topic=topic.name), small=stalls)
                if stalls:
                    self.stalling.append(sock.fileno())
                self.poll.register(sock, select.EPOLLIN)
                self.readers[sock.fileno()] = Reader(sock, topic)
                topic.live += 1

    def stall(self) -> None:
        """Some sockets stop reading; the others alone count from here on."""
        for number in self.stalling:
            reader = self.readers.pop(number)
            self.poll.unregister(number)
            self.aside.append(reader)  # open, or the server would see it go
            reader.topic.live -= 1
        self.mark()

    def mark(self) -> None:
        """Forgets what was noted; messages that are under way are not judged."""
        for topic in self.topics:
            topic.reached.clear()
            topic.last.clear()

    def run(self) -> None:
        """Reads until standard input ends."""
        orders = sys.stdin.fileno()
        self.poll.register(orders, select.EPOLLIN)
        while True:
            ready = self.poll.poll(ALIVE_SECONDS / TURNS)
            if time.monotonic() >= self.alive_at:
                self._say_alive()
            for number, _ in ready:
                if number == orders:
                    words = os.read(orders, CHUNK).decode()  # past Python's buffer, which epoll cannot see
                    if not words:
                        return
                    for word in words.split():
                        self._obey(word)
                elif number in self.readers:
                    self._read(self.readers[number])

    def _read(self, reader: Reader) -> None:
        try:
            data = reader.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            reader.take(data, time.monotonic())
        else:
            self.closed += 1
            self.poll.unregister(reader.sock)

    def _say_alive(self) -> None:
        """An unasked pong from each in turn, a sign of life that costs the readers no parsing of pings."""
        self.alive_at += ALIVE_SECONDS / TURNS
        self.turn = (self.turn + 1) % TURNS
        for reader in [*self.readers.values(), *self.aside][self.turn :: TURNS]:
            with suppress(OSError):
                reader.sock.send(PONG)

    def _obey(self, order: str) -> None:
        if order == "mark":
            self.mark()
        elif order == "stall":
            self.stall()
        else:
            sys.stdout.write(json.dumps(self._report() if order == "report" else self._final()) + "\n")
            sys.stdout.flush()

    def _report(self) -> dict[str, Any]:
        """When the last socket had what."""
        return {"last": {topic.name: topic.last for topic in self.topics}, "closed": self.closed}

    def _final(self) -> dict[str, Any]:
        """Where each socket stands, the newest of each agent that it saw, and whether it saw every event."""
        return {
            "numbers": {topic.name: self._numbers(topic) for topic in self.topics},
            "newest": {topic.name: self._newest(topic) for topic in self.topics},
            "events": {topic.name: self._events(topic) for topic in self.topics if topic.name == "requests"},
        }

    def _numbers(self, topic: Topic) -> list[int]:
        return sorted({reader.number for reader in self.readers.values() if reader.topic is topic})

    def _newest(self, topic: Topic) -> list[dict[str, int]]:
        """The different views of the topic's agents among its sockets; one, if all agree."""
        pattern = re.compile(rb'"agent_id":"([^"]+)"[^{}]*\[\{' + topic.marker + rb"(\d+)")
        views = []
        for reader in self.readers.values():
            if reader.topic is topic:
                view = {agent.decode(): int(n) for agent, n in pattern.findall(b"".join(reader.end))}
                if view not in views:
                    views.append(view)
        return views

    def _events(self, topic: Topic) -> int:
        """How many of the topic's sockets lack a number within what they kept, or have one twice."""
        pattern = re.compile(topic.marker + rb"(\d+)")
        bad = 0
        for reader in self.readers.values():
            if reader.topic is topic:
                numbers = [int(n) for n in pattern.findall(b"".join(reader.end))]
                bad += numbers != list(range(numbers[0], numbers[0] + len(numbers))) if numbers else 1
        return bad


def main() -> None:
    """Connects, says `ready`, reads and obeys."""
    crowd = Crowd(json.loads(sys.stdin.readline()))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    crowd.run()


if __name__ == "__main__":
    main()
