"""The credential a feed shows: always the same, or a fresh one from the program at each connection."""

import inspect
from collections.abc import Awaitable, Callable

from fleetpulse.errors import FleetpulseError, UpstreamError
from fleetpulse.feed.connection import LostError

Token = str | Callable[[], str | Awaitable[str | None] | None] | None
MAX_REFUSALS = 3  # fresh tokens refused one after another: the next would be, too


class Tokens:
    """Asks for tokens, and judges whether another attempt makes sense after one was refused."""

    def __init__(self, source: Token) -> None:
        self._source = source
        self._shown: str | None = None
        self._refused: FleetpulseError | None = None
        self._refusals = 0

    @property
    def fresh(self) -> bool:
        """Whether there may be another one."""
        return callable(self._source)

    async def next(self) -> str | None:
        """The token for a connection, or to renew one with.

        Raises the refusal that came before where this token is the one that was refused; LostError where the place
        that tokens come from cannot be reached now. Whatever else the program's function raises goes on.
        """
        try:
            given = self._source() if callable(self._source) else self._source
            token = await given if inspect.isawaitable(given) else given
        except (OSError, UpstreamError) as error:
            raise LostError(f"no token: {error}") from error
        if self._refused is not None and token == self._shown:
            raise self._refused
        self._shown, self._refused = token, None
        return token

    def refused(self, error: FleetpulseError) -> None:
        """Notes that the server refused the newest token; raises the refusal where none other can come."""
        self._refused = error
        self._refusals += 1
        if not self.fresh or self._refusals > MAX_REFUSALS:
            raise error

    def admitted(self) -> None:
        """The server answers: the token holds."""
        self._refusals = 0
