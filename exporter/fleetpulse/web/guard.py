"""Who may call which handler, and which web pages may.

Every handler declares its role (`@requires`), that it is `@public`, or that it lets WebSockets in itself
(`@admits_websocket`). A handler that declares nothing stops the server at start. Credentials are read from
`X-App-Key` and `X-App-Secret` or `Authorization: Bearer`; from a WebSocket's subprotocols, and from the query
string (`token`, `access_token`) only where a browser can send no header: WebSockets and server-sent events.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from fleetpulse.auth import ANONYMOUS, Authenticator, Credentials, Principal, Role
from fleetpulse.config import Settings
from fleetpulse.errors import ForbiddenError
from fleetpulse.web.origins import host_allowed, origin_allowed

BEARER_SUBPROTOCOL = "bearer"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_QUERY_NAMES = ("token", "access_token")
_ACCESS = "__fleetpulse_access__"
_PRINCIPAL = web.RequestKey("fleetpulse.principal", Principal)

_H = TypeVar("_H", bound=Callable[..., Any])
Door = Callable[[web.Request], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Access:
    """What a handler declares of its callers; no role: anyone."""

    role: Role | None
    query_token: bool = False
    admits_itself: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """A WebSocket that may be opened.

    `principal` is None when no credential came with the handshake: the first message must then bring one
    (`Guard.admit_token`). `subprotocol` is what to answer in the handshake, if anything; never a token.
    """

    principal: Principal | None
    subprotocol: str | None


def requires(role: Role, *, query_token: bool = False) -> Callable[[_H], _H]:
    """Declares the role a handler needs; `query_token` also takes `?token=`, as EventSource can send no header."""
    return _declare(Access(role, query_token=query_token))


def public(handler: _H) -> _H:
    """Declares a handler that anyone may call: health checks."""
    return _declare(Access(None))(handler)


def admits_websocket(handler: _H) -> _H:
    """Declares a WebSocket handler, which must call `Guard.admit_websocket` before it upgrades."""
    return _declare(Access(None, admits_itself=True))(handler)


def access_of(handler: object) -> Access:
    """What a handler declares. Raises RuntimeError where it declares nothing."""
    access = getattr(handler, _ACCESS, None)
    if not isinstance(access, Access):
        raise RuntimeError(f"{handler} declares no access (requires, public, admits_websocket)")  # noqa: TRY004
    return access


def principal_of(request: web.Request) -> Principal:
    """The caller of a handler declared with `@requires`."""
    return request[_PRINCIPAL]


class Guard:
    """Enforces what handlers declare. Hold one per application; `web/entry.py` puts its doors before handlers."""

    def __init__(self, authenticator: Authenticator, settings: Settings) -> None:
        self._authenticator = authenticator
        self._origins = settings.auth.allowed_origins
        self._bound = settings.host

    def door(self, handler: object) -> Door:
        """What lets requests through to a handler: call it with each, and await what it returns, if anything.

        Raises RuntimeError now for a handler that declares no access, and ForbiddenError or UnauthenticatedError
        later for requests that may not pass.
        """
        access = access_of(handler)
        role = access.role
        if role is None:
            return self._check_page if access.admits_itself else _open

        def admit(request: web.Request) -> Awaitable[None] | None:
            self._check_page(request)
            if self._authenticator.enabled:
                return self._identify(request, role, query=access.query_token)
            request[_PRINCIPAL] = ANONYMOUS
            return None

        return admit

    def tells_anyone(self, request: web.Request) -> bool:
        """Whether a public handler may tell what others need a role for: nobody is asked, and the page is ours."""
        try:
            self._check_page(request)
        except ForbiddenError:
            return False
        return not self._authenticator.enabled

    async def admit_websocket(
        self, request: web.Request, role: Role, *, protocols: Collection[str] = ()
    ) -> Admission:
        """Judges a handshake before the upgrade; `protocols` are the subprotocols the handler speaks.

        A token may come as `Authorization: Bearer`, as the subprotocols `bearer, <token>`, or in the query
        string; none at all is an Admission without principal. Raises ForbiddenError, UnauthenticatedError.
        """
        self._check_page(request, always=True)
        offered = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        token, offered = _take_token(offered)
        subprotocol = next((name for name in offered if name in {*protocols, BEARER_SUBPROTOCOL}), None)
        credentials = _credentials(request, query=True, subprotocol_token=token)
        if self._authenticator.enabled and credentials == Credentials():
            return Admission(None, subprotocol)
        return Admission(await self._admit(credentials, role), subprotocol)

    async def admit_token(self, token: str, role: Role) -> Principal:
        """Judges a token from a first message: a JWT or `fp_<key>_<secret>`. Raises as `admit_websocket`."""
        return await self._admit(Credentials(bearer=token), role)

    async def _identify(self, request: web.Request, role: Role, *, query: bool) -> None:
        request[_PRINCIPAL] = await self._admit(_credentials(request, query=query), role)

    async def _admit(self, credentials: Credentials, role: Role) -> Principal:
        principal = await self._authenticator.authenticate(credentials)
        if not principal.may(role):
            raise ForbiddenError(f"this needs the role {role}, which the credential does not have")
        return principal

    def _check_page(self, request: web.Request, *, always: bool = False) -> None:
        """Refuses pages of other sites, and (without credentials) names that are not this server's."""
        open_to_all = not self._authenticator.enabled
        host = request.headers.get("Host", "")
        if open_to_all and host and not host_allowed(host, self._origins, bound=self._bound):
            raise ForbiddenError(
                "this server asks for no credentials, so it answers only to its addresses and localhost, not to "
                "the name in Host; if the name is yours, add its origin to auth.allowed_origins"
            )
        origin = request.headers.get("Origin")
        if origin is None or (request.method in _SAFE_METHODS and not always):
            return
        if not origin_allowed(origin, host, self._origins, open_loopback=open_to_all):
            raise ForbiddenError(
                "pages of this origin may not call this server; auth.allowed_origins lists who may"
            )


def _declare(access: Access) -> Callable[[_H], _H]:
    def decorate(handler: _H) -> _H:
        setattr(handler, _ACCESS, access)
        return handler

    return decorate


def _open(_request: web.Request) -> None:
    """The door of public handlers."""


def _credentials(request: web.Request, *, query: bool, subprotocol_token: str | None = None) -> Credentials:
    headers = request.headers
    key, secret = headers.get("X-App-Key"), headers.get("X-App-Secret")
    bearer = _bearer(headers.get("Authorization")) or subprotocol_token
    if bearer is None and query:
        bearer = next((value for name in _QUERY_NAMES if (value := request.query.get(name))), None)
    return Credentials(key, secret, bearer)


def _bearer(header: str | None) -> str | None:
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _take_token(offered: list[str]) -> tuple[str | None, list[str]]:
    """Splits offered subprotocols into the token after `bearer` and the others; `bearer` goes last.

    A browser drops the connection unless one of the protocols it offered is chosen, so `bearer` itself is chosen
    where the client offered no real one.
    """
    if BEARER_SUBPROTOCOL not in offered:
        return None, offered
    at = offered.index(BEARER_SUBPROTOCOL)
    token = offered[at + 1] if at + 1 < len(offered) else None
    return token, [*offered[:at], *offered[at + 2 :], BEARER_SUBPROTOCOL]
