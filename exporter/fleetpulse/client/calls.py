"""One call while it lasts: timed, classified by how it ends, and logged once when it has ended.

Promises: what the caller's code raises goes on, unchanged; nothing here raises anything else.
"""

import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from decimal import Decimal
from functools import wraps
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar, Unpack, cast

from fleetpulse.client.records import RequestFields, describe, new_id
from fleetpulse.client.usage import read_usage

SUCCESS, ERROR, TIMEOUT, CANCELLED = "success", "error", "timeout", "cancelled"
CANCELLATIONS = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"})

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])


class Log(Protocol):
    """Who takes the record: `Monitor.log`."""

    def __call__(self, **fields: Unpack[RequestFields]) -> str:
        """Logs one call; its id, or nothing."""


class Call:
    """A call under way, as `with monitor.request(...) as call:` gives it; also for `async with`. For one use.

    `request_id` is the id it will have, for the program's own logs or for whom it calls.
    Without a status of its own it is "success", or by the exception that ends it: "timeout", "cancelled", "error".
    """

    def __init__(self, log: Log, fields: RequestFields) -> None:
        self.request_id = str(fields.get("request_id") or new_id())
        self._log = log
        self._fields: RequestFields = {**fields, "request_id": self.request_id}
        self._started = time.perf_counter()

    def set(self, **fields: Unpack[RequestFields]) -> None:
        """Says more of the call; the newest word wins."""
        self._fields.update(fields)

    def tokens(
        self, input_tokens: int | None = None, output_tokens: int | None = None, cached_tokens: int | None = None
    ) -> None:
        """How many tokens it took; `cached_tokens` are part of `input_tokens`."""
        self.set(input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached_tokens)

    def cost(self, usd: float | Decimal) -> None:
        """What it cost, where the provider says so; else the server works it out from model and tokens."""
        self.set(cost=usd)

    def usage(self, response: object) -> None:
        """Takes tokens and model from a provider's response (see `read_usage`); a model said before stays."""
        found = read_usage(response)
        if self._fields.get("model"):
            found.pop("model", None)
        self._fields.update(found)

    def fail(self, error: str | BaseException, status: str | None = None) -> None:
        """The call failed though nothing is raised."""
        self.set(error=error, status=status or (classify(error) if isinstance(error, BaseException) else ERROR))

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fields.setdefault("execution_time", time.perf_counter() - self._started)
        if error is not None:
            self._fields.setdefault("status", classify(error))
            self._fields.setdefault("error", describe(error))
        self._log(**self._fields)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def classify(error: BaseException) -> str:
    """The status of a call that ended with this exception; of other libraries, by the names of its classes."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if any(name in CANCELLATIONS for name in names):
        return CANCELLED
    return TIMEOUT if any("Timeout" in name for name in names) else ERROR


Begin = Callable[[tuple[object, ...], dict[str, object]], Call]


def track(function: F, begin: Begin, *, usage: bool) -> F:
    """The function, each call of it logged: plain, async, generators and async generators (until they end)."""
    wrapped: Callable[..., object]
    if inspect.iscoroutinefunction(function):
        wrapped = _around_coroutine(function, begin, usage=usage)
    elif inspect.isasyncgenfunction(function):
        wrapped = _around_async_generator(function, begin, usage=usage)
    elif inspect.isgeneratorfunction(function):
        wrapped = _around_generator(function, begin, usage=usage)
    else:
        wrapped = _around_function(function, begin, usage=usage)
    return cast("F", wrapped)


def _around_function(function: Callable[P, R], begin: Begin, *, usage: bool) -> Callable[P, R]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with begin(args, kwargs) as one:
            result = function(*args, **kwargs)
            if usage:
                one.usage(result)
            return result

    return call


def _around_coroutine(
    function: Callable[P, Awaitable[R]], begin: Begin, *, usage: bool
) -> Callable[P, Awaitable[R]]:
    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with begin(args, kwargs) as one:
            result = await function(*args, **kwargs)
            if usage:
                one.usage(result)
            return result

    return call


def _around_generator(
    function: Callable[P, Generator[R, object, object]], begin: Begin, *, usage: bool
) -> Callable[P, Generator[R, object, object]]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Generator[R, object, object]:
        with begin(args, kwargs) as one, closing(function(*args, **kwargs)) as items:
            if not usage:
                return (yield from items)
            for item in items:
                one.usage(item)
                yield item
            return None

    return call


def _around_async_generator(
    function: Callable[P, AsyncGenerator[R, None]], begin: Begin, *, usage: bool
) -> Callable[P, AsyncIterator[R]]:
    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        with begin(args, kwargs) as one:
            async with aclosing(function(*args, **kwargs)) as items:
                async for item in items:
                    if usage:
                        one.usage(item)
                    yield item

    return call
