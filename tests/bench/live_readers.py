"""WebSocket clients that cost little: raw sockets that shake hands and throw away what they read.

`python live_readers.py PORT PATH COUNT` says `ready` on a line of its own once all are connected, and goes on
reading until its standard input ends.
"""

import selectors
import socket
import sys

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SECONDS = 30.0
NETWORK_SEGMENT = 1_400
SMALL_BUFFER = 16_384


def connect(port: int, path: str, *, small: bool = False) -> socket.socket:
    """One connection after its handshake; where `small`, the kernel holds as little for it as over a real network.

    Loopback's segments of 64 KiB would give it megabytes: it could stop reading for minutes, unnoticed.
    """
    sock = socket.socket()
    sock.settimeout(SECONDS)
    if small:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NETWORK_SEGMENT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.connect(("127.0.0.1", port))
    sock.sendall(HANDSHAKE.format(path=path, port=port).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(4_096)
        if not piece:
            raise SystemExit(f"the server closed the connection: {answer[:200]!r}")
        answer += piece
    if b" 101 " not in answer:
        raise SystemExit(f"the server refused: {answer[:200]!r}")
    sock.setblocking(False)
    return sock


def main() -> None:
    """Connects, reports, reads and discards."""
    port, path, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    selector = selectors.DefaultSelector()
    for _ in range(count):
        selector.register(connect(port, path), selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sink = bytearray(262_144)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            assert isinstance(key.fileobj, socket.socket)
            if not key.fileobj.recv_into(sink):
                selector.unregister(key.fileobj)


if __name__ == "__main__":
    main()
