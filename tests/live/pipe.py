"""A transport whose reader the test commands: it reads, stalls, drains a little, or is cut off."""

import json
from typing import Any


class Pipe:
    """Stands for a socket: while stalled, what is written stays in the buffer."""

    def __init__(self) -> None:
        self.stalled = False
        self.aborted = False
        self._closing = False
        self._buffer = bytearray()
        self._arrived = bytearray()
        self.writes = 0

    def write(self, data: bytes) -> None:
        assert not self._closing, "written after close"
        self.writes += 1
        self._buffer += data
        if not self.stalled:
            self.drain()

    def writelines(self, list_of_data: list[bytes]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = self.aborted = True
        self._buffer.clear()

    def drain(self, size: int | None = None) -> None:
        size = len(self._buffer) if size is None else size
        self._arrived += self._buffer[:size]
        del self._buffer[:size]

    def read(self) -> list[dict[str, Any]]:
        """The whole text messages that arrived since the last call."""
        found = []
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == 1:
                found.append(json.loads(payload))
        return found

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._arrived
        if len(data) < 2:
            return None
        width = {126: 2, 127: 8}.get(data[1], 0)
        at = 2 + width
        if len(data) < at:
            return None
        size = int.from_bytes(data[2:at], "big") if width else data[1]
        if len(data) < at + size:
            return None
        opcode, payload = data[0] & 15, bytes(data[at : at + size])
        del data[: at + size]
        return opcode, payload


class EventPipe(Pipe):
    """A pipe of server-sent events: the id that came last stays, as EventSource keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.event_id = ""

    def read(self) -> list[dict[str, Any]]:
        """The whole events that arrived since the last call, each with the id that stood then as `id`."""
        found = []
        while (chunk := self._chunk()) is not None:
            for line in chunk.decode().splitlines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.event_id = value
                elif name == "data":
                    found.append(json.loads(value) | {"event_id": self.event_id})
        return found

    def _chunk(self) -> bytes | None:
        data = self._arrived
        head = data.find(b"\r\n")
        if head < 0:
            return None
        size = int(data[:head], 16)
        if len(data) < head + 2 + size + 2:
            return None
        chunk = bytes(data[head + 2 : head + 2 + size])
        del data[: head + 2 + size + 2]
        return chunk
