"""The one way into every handler: judge access, run it, turn errors into problem documents, count the answer.

This is one function around each handler rather than a chain of aiohttp middlewares: a middleware costs every
request of a busy exporter several microseconds, and three of them cost more than storing a request log.
"""

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from aiohttp import web
from prometheus_client import Counter

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.web.guard import Guard, public
from fleetpulse.web.problems import answer_error, problem_response, remember_response, translation_of
from fleetpulse.web.spans import RequestSpans

UNKNOWN_ROUTE = "none"
CATCH_ALL = "/{path}"
PARAMETER = re.compile(r"\{(\w+)\}")
ANYTHING = r"{\1:[^/]+}"  # aiohttp's own rule leaves out braces, which an agent's name may hold


class Entry:
    """Adds handlers to an application, each behind its door."""

    def __init__(self, guard: Guard, instruments: Instruments, spans: RequestSpans | None = None) -> None:
        """With `spans`, each request has one; without, they cost nothing."""
        self._guard = guard
        self._spans = spans
        self._answers = instruments.counter(catalogue.HTTP_REQUESTS)
        self._under_way = 0
        self._draining = False
        self._idle = asyncio.Event()

    async def drain(self, seconds: float) -> None:
        """Refuses what comes from now on, and waits (so long at the most) for what is under way to be answered."""
        self._draining = True
        if self._under_way:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()

    def install(self, app: web.Application, routes: Iterable[web.RouteDef]) -> None:
        """Adds the routes, and an answer for every address that is none of them.

        Raises RuntimeError for a handler that declares no access.
        """
        app.on_response_prepare.append(remember_response)
        app.add_routes([self._enclose(route) for route in routes])
        app.add_routes([self._enclose(web.route("*", "/{path:(?s:.*)}", _no_such_route), UNKNOWN_ROUTE)])

    def _enclose(self, route: web.RouteDef, name: str | None = None) -> web.RouteDef:
        handler, admit = route.handler, self._guard.door(route.handler)
        answers, path, translate = self._answers, name or route.path, translation_of(route.handler)

        @cache  # bounded by the statuses there are
        def counted(status: int) -> Counter:
            return answers.labels(path, str(status))

        async def enter(request: web.Request) -> web.StreamResponse:
            self._under_way += 1
            response: web.StreamResponse
            try:
                if self._draining:
                    response = _stopping()
                else:
                    asking = admit(request)
                    if asking is not None:
                        await asking
                    response = await handler(request)
            except web.HTTPException as error:
                if error.status < 400:  # noqa: PLR2004 - a redirect is no error
                    raise
                response = answer_error(request, error)
            except Exception as error:  # noqa: BLE001 - this is where every error of every handler ends
                response = answer_error(request, error)
            finally:
                self._under_way -= 1
                if self._draining and not self._under_way:
                    self._idle.set()
            counted(response.status).inc()
            if translate is not None and response.status >= 400 and isinstance(response, web.Response):  # noqa: PLR2004
                return translate(request, response)
            return response

        observed = self._spans.around(None if name else path, enter) if self._spans else enter
        return web.RouteDef(route.method, PARAMETER.sub(ANYTHING, route.path), observed, route.kwargs)


def _stopping() -> web.StreamResponse:
    response = problem_response(OverloadedError("the exporter is stopping; nothing of this call was kept"))
    response.force_close()
    return response


@public
async def _no_such_route(request: web.Request) -> web.StreamResponse:
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical != CATCH_ALL:
            allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
