"""Why the server closes a connection: the WebSocket close code says whether to reconnect, the reason is counted."""

from enum import Enum


class Cause(Enum):
    """Causes as (code, text, whether it is an eviction). `docs/live.md` tells clients what to do about each."""

    BYE = (1000, "", False)
    SHUTDOWN = (1001, "the server shuts down: reconnect and resume", False)
    REFUSED = (1008, "not admitted", True)
    TOO_BIG = (1009, "the message is too big", True)
    FAILED = (1011, "the server failed: reconnect later", True)
    SLOW = (1013, "too slow for too long: reconnect later and resume", True)
    BUFFER = (1013, "too much unread: reconnect later and resume", True)
    BUSY = (1013, "the server is full: reconnect later", True)
    UNAUTHENTICATED = (4401, "no valid credential came in time", True)
    EXPIRED = (4401, "the credential has expired", True)
    FORBIDDEN = (4403, "the credential lacks the role", True)
    DEAD = (4408, "no sign of life", True)
    REPLACED = (4409, "a newer connection of this user took the place", True)
    KICKED = (4410, "an administrator closed the connection", True)
    LIMITED = (4429, "this user has too many connections", True)
    FLOOD = (4429, "too many messages", True)

    @property
    def code(self) -> int:
        """The WebSocket close code."""
        return self.value[0]

    @property
    def text(self) -> str:
        """The close frame's reason."""
        return self.value[1]

    @property
    def evicts(self) -> bool:
        """Whether the server closes for cause, which is counted."""
        return self.value[2]
