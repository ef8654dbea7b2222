"""The OpenAPI 3.1 document of the HTTP API, made from the routes and what their handlers declare.

Promises: every route is in it, the same routes give the same bytes, and whatever stands in it is what the code
checks (queries, bodies) or what tests hold answers to (schemas, statuses, media types). Refuses a route without a
declaration. WebSocket addresses are in it as the handshakes they begin with; docs/live.md has their messages.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NotRequired

from aiohttp import web
from pydantic.json_schema import JsonSchemaMode
from typing_extensions import TypedDict

import fleetpulse
from fleetpulse.auth import Role
from fleetpulse.web import tags
from fleetpulse.web.guard import access_of
from fleetpulse.web.operations import JSON, NDJSON, PROTOBUF, Answer, Operation, operation_of
from fleetpulse.web.problems import MEDIA_TYPE, STATUS, TYPE_PREFIX
from fleetpulse.web.schemas import INPUT, OUTPUT, Schema, Schemas, single

OPENAPI = "3.1.0"
PARAMETER = re.compile(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}")
LINES = frozenset({NDJSON})
BINARY = frozenset({PROTOBUF, "application/gzip", "application/octet-stream"})
RETRY = {
    "description": "Seconds to wait before the same request is sent again.",
    "required": True,
    "schema": {"type": "integer"},
}
CHALLENGE = {"description": "How to authenticate.", "required": True, "schema": {"type": "string"}}
SECURITY_SCHEMES = {
    "appKey": {"type": "apiKey", "in": "header", "name": "X-App-Key", "description": "An app key's name."},
    "appSecret": {"type": "apiKey", "in": "header", "name": "X-App-Secret", "description": "Its secret."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JSON Web Token, or an app key as `fp_<key>_<secret>`.",
    },
}
DESCRIPTION = """
What programs send to Fleetpulse and what they can read from it.

- **Credentials** are asked for where some are configured, and always off loopback: `X-App-Key` and `X-App-Secret`,
  or `Authorization: Bearer`. Each operation names the role it needs; *admin* may do all an *operator* may, an
  *operator* all a *viewer* or a *reporter* may.
- **Bodies** may be compressed: `Content-Encoding: gzip` or `deflate`.
- **Errors** are problem documents (RFC 9457). 503 comes with `Retry-After`: nothing was kept, send it again.
- **Unknown fields** of bodies are ignored; unknown names in a query are refused.
- `HEAD` is answered wherever `GET` is.
"""


class FieldError(TypedDict):
    """One thing that breaks the contract: where, and why."""

    loc: list[str | int]
    msg: str


class Problem(TypedDict):
    """An error answer, as RFC 9457 has it. `type` is stable: programs may tell errors apart by it."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FieldError]]


def describe(routes: Iterable[web.RouteDef], *, secured: bool) -> dict[str, Any]:
    """The document of these routes; `secured` says whether credentials are asked for.

    Raises RuntimeError for a handler that declares no operation.
    """
    served = [(route, _declared(route)) for route in routes if route.method != "*"]
    schemas = Schemas([(Problem, OUTPUT), *(pair for _, operation in served for pair in _types(operation))])
    paths: dict[str, dict[str, Any]] = {}
    statuses: set[int] = set()
    for route, operation in sorted(served, key=lambda pair: _rank(*pair)):
        page = _Page(route, operation, schemas, secured=secured)
        paths.setdefault(PARAMETER.sub(r"{\1}", route.path), {})[route.method.lower()] = page.document()
        statuses |= page.problems
    components = {
        "responses": {_problem_name(status): _problem(status, schemas) for status in sorted(statuses)},
        "securitySchemes": SECURITY_SCHEMES,
    }
    return {
        "openapi": OPENAPI,
        "info": _info(),
        "servers": [{"url": "/", "description": "This exporter"}],
        "tags": tags.listed({operation.tag for _, operation in served}),
        "paths": paths,
        "components": {"schemas": schemas.used_by([paths, components]), **components},
    }


def _declared(route: web.RouteDef) -> Operation:
    operation = operation_of(route.handler)
    if operation is None:
        raise RuntimeError(f"{route.method} {route.path}: its handler declares no operation")
    return operation


def _rank(route: web.RouteDef, operation: Operation) -> tuple[int, str, str]:
    return tags.rank(operation.tag), route.path, route.method


def _info() -> dict[str, Any]:
    return {
        "title": "Fleetpulse",
        "version": fleetpulse.__version__,
        "summary": "Heartbeats, request logs and chat activity of fleets of bots and AI agents.",
        "description": DESCRIPTION.strip(),
        "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
    }


def _types(operation: Operation) -> Iterable[tuple[Any, JsonSchemaMode]]:
    """Every type of a declaration with its direction."""
    for kind in (operation.answer, *(answer.type for answer in operation.answers.values())):
        if kind is not None:
            yield kind, OUTPUT
    inputs = [*operation.path.values(), *operation.headers.values()]
    if operation.query is not None:
        inputs.append(operation.query)
    if operation.body is not None:
        inputs += [operation.body, single(operation.body)]
    for kind in inputs:
        yield kind, INPUT


class _Page:
    """One operation on its way into the document."""

    def __init__(self, route: web.RouteDef, operation: Operation, schemas: Schemas, *, secured: bool) -> None:
        self._route = route
        self._it = operation
        self._schemas = schemas
        self._secured = secured
        self._access = access_of(route.handler)
        self._names = PARAMETER.findall(route.path)
        self.problems = self._problems()

    def document(self) -> dict[str, Any]:
        """The Operation Object."""
        summary, description = _words(self._route.handler)
        role = Role.VIEWER if self._it.websocket else self._access.role
        document: dict[str, Any] = {
            "tags": [self._it.tag],
            "operationId": _operation_id(self._route.handler),
            "summary": summary,
        }
        if description:
            document["description"] = description
        if parameters := self._parameters():
            document["parameters"] = parameters
        if self._it.body is not None:
            document["requestBody"] = self._body()
        document["responses"] = self._responses()
        document["security"] = self._security() if role else []
        if role:
            document["x-role"] = role.value
        if self._it.websocket:
            document["x-websocket"] = True
        return document

    def _problems(self) -> set[int]:
        it = self._it
        found = {503, *it.problems}
        if self._access.role is not None or it.websocket:
            found |= {401, 403} if self._secured else {403}
        if self._names:
            found.add(404)
        if (it.query is not None or it.path) and not it.websocket:
            found.add(422)
        return found | {400, 413, 422} if it.body is not None else found

    def _parameters(self) -> list[dict[str, Any]]:
        found = [_parameter(name, "path", self._of_path(name), required=True) for name in self._names]
        for name, kind in self._it.headers.items():
            found.append(_parameter(name, "header", self._schemas.of(kind, INPUT), required=False))
        if self._it.query is not None:
            for name, schema, required in self._schemas.fields(self._it.query):
                found.append(_parameter(name, "query", schema, required=required))
        return found

    def _of_path(self, name: str) -> Schema:
        kind = self._it.path.get(name)
        return {"type": "string", "minLength": 1} if kind is None else self._schemas.of(kind, INPUT)

    def _body(self) -> dict[str, Any]:
        content = {media: self._media(media, self._it.body, INPUT) for media in self._it.body_media}
        if self._it.examples and JSON in content:
            content[JSON]["examples"] = {
                title: {"summary": title, "value": value} for title, value in self._it.examples.items()
            }
        how = "May be compressed: `Content-Encoding: gzip` or `deflate`."
        return {"required": True, "description": how, "content": content}

    def _responses(self) -> dict[str, Any]:
        first = Answer(self._meaning(), self._it.answer, self._it.media)
        responses: dict[int, dict[str, Any]] = {self._it.status: self._answer(first)}
        for status, answer in self._it.answers.items():
            _merge(responses, status, self._answer(answer))
        for status in self.problems:
            if status in responses:
                _merge(responses, status, _problem(status, self._schemas))
            else:
                responses[status] = {"$ref": f"#/components/responses/{_problem_name(status)}"}
        if self._it.upstream is not None:
            told = f"{self._it.upstream} does not answer, or the service is overloaded or stopping; try again."
            responses[503] = {**_problem(503, self._schemas), "description": told}
        return {str(status): responses[status] for status in sorted(responses)}

    def _answer(self, answer: Answer) -> dict[str, Any]:
        document: dict[str, Any] = {"description": answer.description}
        if answer.headers:
            document["headers"] = {
                name: {"description": text, "required": True, "schema": {"type": "string"}}
                for name, text in answer.headers.items()
            }
        if answer.media and _has_content(answer, self._it):
            document["content"] = {media: self._media(media, answer.type, OUTPUT) for media in answer.media}
        return document

    def _meaning(self) -> str:
        """What the good answer is: what its type says of itself, else the status' own name."""
        if self._it.answer is not None:
            schema = self._schemas.of(self._it.answer, OUTPUT)
            if text := self._schemas.resolve(schema).get("description"):
                return str(text).partition("\n")[0]
        return HTTPStatus(self._it.status).phrase

    def _media(self, media: str, kind: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        if media in LINES:
            lines: Schema = {"type": "string", "description": "One JSON document a line."}
            if kind is not None:
                lines["x-lines"] = self._schemas.of(single(kind) if mode == INPUT else kind, mode)
            return {"schema": lines}
        if media in BINARY:
            return {"schema": {"type": "string", "format": "binary"}}
        if media.endswith("json") and kind is not None:
            return {"schema": self._schemas.of(kind, mode)}
        return {"schema": {"type": "string"}}

    def _security(self) -> list[dict[str, list[str]]]:
        known: list[dict[str, list[str]]] = [{"appKey": [], "appSecret": []}, {"bearer": []}]
        return known if self._secured else [{}, *known]


def _has_content(answer: Answer, operation: Operation) -> bool:
    return not (operation.websocket and answer.type is None and answer.media == (JSON,))


def _parameter(name: str, where: str, schema: Schema, *, required: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name, "in": where, "required": required}
    if text := schema.get("description"):
        document["description"] = text
    return {**document, "schema": {key: value for key, value in schema.items() if key != "description"}}


def _merge(responses: dict[int, dict[str, Any]], status: int, more: Mapping[str, Any]) -> None:
    """Adds an answer to those of its status."""
    there = responses.setdefault(status, {"description": more["description"]})
    for part in ("headers", "content"):
        if part in more:
            there[part] = {**there.get(part, {}), **more[part]}


def _problem_name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("'", "").replace("-", "")


def _problem(status: int, schemas: Schemas) -> dict[str, Any]:
    """The Response Object of a problem, with an example of each code it may have."""
    codes = [(code, title) for code, (its, title) in STATUS.items() if its == status and code != "http"]
    document: dict[str, Any] = {
        "description": f"{'; or: '.join(title for _, title in codes) or HTTPStatus(status).phrase}.",
        "content": {MEDIA_TYPE: {"schema": schemas.of(Problem, OUTPUT)}},
    }
    if codes:
        document["content"][MEDIA_TYPE]["examples"] = {
            code: {"value": {"type": TYPE_PREFIX + code, "title": title, "status": status, "detail": "…"}}
            for code, title in codes
        }
    headers = {503: {"Retry-After": RETRY}, 401: {"WWW-Authenticate": CHALLENGE}}.get(status)
    return {**document, "headers": headers} if headers else document


def _words(handler: Any) -> tuple[str, str]:
    """A handler's summary and description, from its docstring."""
    summary, _, rest = (inspect.getdoc(handler) or "").partition("\n")
    return summary.strip().removesuffix("."), rest.strip()


def _operation_id(handler: Any) -> str:
    owner = getattr(handler, "__self__", None)
    part = type(owner).__name__.removesuffix("Endpoints") if owner is not None else handler.__module__
    return f"{part.rpartition('.')[2].lower()}.{handler.__name__}"


def operations(document: Mapping[str, Any]) -> Sequence[tuple[str, str, dict[str, Any]]]:
    """The operations of a document: method, path, Operation Object."""
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
