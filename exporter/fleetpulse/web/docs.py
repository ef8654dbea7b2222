"""The API's own documentation: `/openapi.json` and `/asyncapi.yaml` for programs, `/docs` and `/live` for people.

Public, with or without credentials: it says how to ask, and nothing of what there is to know.
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from aiohttp import web

from fleetpulse.web.guard import public
from fleetpulse.web.openapi import describe
from fleetpulse.web.operations import HTML, operation
from fleetpulse.web.pages import html_page, markup

YAML = "application/yaml"  # RFC 9512


class DocsEndpoints:
    """Serves the document of `routes` and of its own; `secured` tells whether credentials are asked for by now."""

    def __init__(self, routes: Sequence[web.RouteDef], secured: Callable[[], bool]) -> None:
        self._routes = [*routes, *self.routes()]
        self._secured = secured
        self._made: dict[bool, bytes] = {}
        self._document(secured())  # a handler that declares nothing stops the server now

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/openapi.json", self.openapi),
            web.get("/asyncapi.yaml", self.asyncapi),
            web.get("/docs", self.page),
            web.get("/live", self.live_page),
        ]

    @public
    @operation("Pages", answer=dict[str, Any])
    async def openapi(self, _request: web.Request) -> web.Response:
        """This API as an OpenAPI 3.1 document."""
        body = self._document(self._secured())
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})

    @public
    @operation("Pages", media=(HTML,))
    async def page(self, _request: web.Request) -> web.Response:
        """This API to read and to try in the browser, without internet."""
        return html_page(markup("docs.html"))

    @public
    @operation("Pages", answer=dict[str, Any], media=(YAML,))
    async def asyncapi(self, _request: web.Request) -> web.Response:
        """The WebSocket addresses and their messages as an AsyncAPI 3.0 document."""
        return web.Response(text=markup("asyncapi.yaml"), content_type=YAML, headers={"Cache-Control": "no-cache"})

    @public
    @operation("Pages", media=(HTML,))
    async def live_page(self, _request: web.Request) -> web.Response:
        """The live feed to look at: topics, messages, positions, and a button that cuts the connection."""
        return html_page(markup("live.html"))

    def _document(self, secured: bool) -> bytes:  # noqa: FBT001 - the key of what is kept
        if secured not in self._made:
            self._made[secured] = orjson.dumps(describe(self._routes, secured=secured))
        return self._made[secured]
