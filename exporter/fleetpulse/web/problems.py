"""Errors as RFC 9457 problem documents: the one table from error codes to HTTP statuses.

Promises: a caller gets `{type, title, status, detail, errors?}` for every error of every handler; never a stack
trace, never a value it sent, and text that is plain ASCII JSON whatever the input held. What nobody foresaw is
answered with an id that the log explains. `docs/problems.md` lists the codes.
"""

import json
import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from fleetpulse.errors import FleetpulseError, InvalidInputError, OverloadedError, UpstreamError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:fleetpulse:problem:"
MAX_ERRORS = 100
UPSTREAM_RETRY_SECONDS = 5
CLIENT_GONE = 499  # nobody reads it; access logs and counters do

STATUS: dict[str, tuple[int, str]] = {
    "invalid-input": (422, "The input does not fit the contract"),
    "malformed": (400, "The input cannot be read"),
    "too-large": (413, "The input is too large"),
    "unauthenticated": (401, "Credentials are missing or do not hold"),
    "forbidden": (403, "The caller may not do this"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "The resource does not take this method"),
    "unsupported-media-type": (415, "The content type is not one this resource takes"),
    "limited": (429, "The caller has all it may have"),
    "overloaded": (503, "The service is overloaded; try again"),
    "storage-full": (503, "The journal cannot be written now; try again"),
    "upstream": (503, "A service behind this one does not answer"),
    "http": (400, "The request cannot be served"),
    "internal": (500, "The server failed"),
}
_CODE_OF_STATUS = {400: "malformed", 401: "unauthenticated", 403: "forbidden", 404: "not-found"} | {
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid-input",
    500: "internal",
}
_PREPARED = web.RequestKey("fleetpulse.prepared", web.StreamResponse)
_TRANSLATION = "__fleetpulse_translation__"
_H = TypeVar("_H", bound=Callable[..., Any])
Translation = Callable[[web.Request, web.Response], web.Response]

log = logging.getLogger(__name__)


def translates_problems(translation: Translation) -> Callable[[_H], _H]:
    """Declares a handler whose callers read errors in another form, which `translation` makes of the problem."""

    def decorate(handler: _H) -> _H:
        setattr(handler, _TRANSLATION, translation)
        return handler

    return decorate


def translation_of(handler: object) -> Translation | None:
    """What a handler declares, if it does."""
    translation: Translation | None = getattr(handler, _TRANSLATION, None)
    return translation


def problem_response(error: Exception) -> web.Response:
    """The problem document for any exception; an unforeseen one is logged under the id that the detail names."""
    if isinstance(error, FleetpulseError) and error.code in STATUS:
        return _respond(error.code, error.detail, _extra_errors(error), _headers(error))
    if isinstance(error, ValidationError):
        return _respond("invalid-input", "the input does not validate", validation_errors(error))
    if isinstance(error, web.HTTPException):
        return _from_aiohttp(error)
    if isinstance(error, web.RequestPayloadError):
        return _respond("malformed", "the body cannot be read as its headers describe it")
    incident = secrets.token_hex(6)
    log.error("incident %s", incident, exc_info=error)
    return _respond("internal", f"an unforeseen error; the server's log has it as incident {incident}")


def validation_errors(error: ValidationError) -> list[dict[str, Any]]:
    """Pydantic's errors as `[{loc, msg}]`, at most `MAX_ERRORS`; neither the input nor exceptions are in them."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": list(item["loc"]), "msg": item["msg"]} for item in found[:MAX_ERRORS]]


async def remember_response(request: web.Request, response: web.StreamResponse) -> None:
    """A signal handler for `on_response_prepare`: `answer_error` must know whether an answer has begun."""
    request[_PREPARED] = response


def answer_error(request: web.Request, error: Exception) -> web.StreamResponse:
    """What a handler that raised answers: a problem document, or a cut where part of an answer is out already."""
    transport = request.transport
    if transport is None or transport.is_closing():
        ordinary = isinstance(error, FleetpulseError | web.HTTPException | web.RequestPayloadError | OSError)
        level = logging.DEBUG if ordinary else logging.ERROR
        log.log(level, "%s %s: the client went away", request.method, request.path, exc_info=error)
        return web.Response(status=CLIENT_GONE)
    begun: web.StreamResponse | None = request.get(_PREPARED)
    if begun is None:
        return problem_response(error)
    # Part of an answer is out already: a cut connection is the one thing the client cannot take for its end.
    log.error("%s %s broke off", request.method, request.path, exc_info=error)
    transport.abort()
    return begun


def _from_aiohttp(error: web.HTTPException) -> web.Response:
    code = _CODE_OF_STATUS.get(error.status, "http")
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    text = error.text or ""
    detail = text.partition(": ")[2] if text.startswith(f"{error.status}: ") else text
    return _respond(code, detail or error.reason, headers=headers, status=error.status)


def _extra_errors(error: FleetpulseError) -> list[dict[str, Any]]:
    return error.errors[:MAX_ERRORS] if isinstance(error, InvalidInputError) else []


def _headers(error: FleetpulseError) -> dict[str, str]:
    if isinstance(error, OverloadedError):
        return {"Retry-After": str(error.retry_after)}
    return {"Retry-After": str(UPSTREAM_RETRY_SECONDS)} if isinstance(error, UpstreamError) else {}


def _respond(
    code: str,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
    status: int | None = None,
) -> web.Response:
    table_status, title = STATUS[code]
    status = status or table_status
    body: dict[str, Any] = {"type": TYPE_PREFIX + code, "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    if status == STATUS["unauthenticated"][0]:
        headers = {**(headers or {}), "WWW-Authenticate": 'Bearer realm="fleetpulse"'}
    # json, not orjson: it escapes lone surrogates, which a hostile field name may hold, instead of failing on them
    return web.Response(
        status=status, body=json.dumps(body).encode("ascii"), content_type=MEDIA_TYPE, headers=headers
    )
