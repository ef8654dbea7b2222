"""Pages for people: how they are sent, so that nothing on them can load or run what is not ours.

Promises: no page asks another host for anything, and none runs a script that is not one of our own files, whatever
text stands on it (Content-Security-Policy). Everything works offline and where no other host is allowed.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated

from aiohttp import web
from pydantic import Field

from fleetpulse.errors import NotFoundError
from fleetpulse.web.guard import public
from fleetpulse.web.operations import Answer, operation

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".ts": "text/plain"}
# Scripts may ask this exporter only (that is the feed, too), and nobody may put a page into a frame of theirs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def html_page(text: str, *, vary: str = "") -> web.Response:
    """A page that is asked for anew each time; `vary` names the request headers that it depends on."""
    headers = HEADERS | {"Cache-Control": "no-cache"} | ({"Vary": vary} if vary else {})
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)


@cache
def names() -> frozenset[str]:
    """The files that are sent."""
    return frozenset(path.name for path in FOLDER.iterdir() if path.suffix in TYPES)


EntityTag = Annotated[str, Field(description="`ETag` of what the browser has.")]
Name = Annotated[str, Field(json_schema_extra={"enum": sorted(names())})]


class StaticEndpoints:
    """The files that pages load: those beside this module, read once, and no others."""

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get("/static/{name}", self.static)]

    @public
    @operation(
        "Pages",
        media=tuple(TYPES.values()),
        path={"name": Name},
        headers={"If-None-Match": EntityTag},
        answers={304: Answer("What the browser has is still so.", media=())},
        problems=(404,),
    )
    async def static(self, request: web.Request) -> web.Response:
        """A style sheet, script or picture of a page."""
        name = request.match_info["name"]
        if name not in names():
            raise NotFoundError("there is no such file")
        body, tag = _file(name)
        headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=TYPES[Path(name).suffix], charset="utf-8", headers=headers)


@cache
def _file(name: str) -> tuple[bytes, str]:
    """A file and its entity tag."""
    body = (FOLDER / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'


@cache
def markup(name: str) -> str:
    """The HTML of a page that is the same for everyone."""
    return (FOLDER / name).read_text("utf-8")
