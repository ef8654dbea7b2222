"""What a handler takes and answers, declared beside it: what `/openapi.json` is made from.

    class Period(Query):
        range: Literal["today", "7d", "30d"] = Field("today", description="How far back.")

    @requires(Role.VIEWER)
    @operation("Statistics", answer=Totals, query=Period, upstream="Prometheus")
    async def metrics(self, request: web.Request) -> web.Response:
        # docstring: its first line is the summary, what follows is the description, in Markdown
        query = read_query(request, Period)

The declared query model is the one that reads the query, so what is documented is what is checked. What follows
from a declaration is not declared again: 401 and 403 from the role; 400, 413 and 422 from a body; 422 from a query
or from typed parameters of the path; 503 always (the exporter may be stopping), saying more with `upstream`. Types
are whatever pydantic's TypeAdapter takes; of answers TypedDicts do best (from typing_extensions: on Python 3.11
pydantic takes no others): every field that is always there is required. Schemathesis holds every answer to its
declaration, and finds it wrong where a field is undeclared.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from fleetpulse.errors import InvalidInputError
from fleetpulse.web.problems import validation_errors

JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"
HTML = "text/html"
CSV = "text/csv"
MARKDOWN = "text/markdown"
PROTOBUF = "application/x-protobuf"
LISTS = (list, tuple, frozenset)
_OPERATION = "__fleetpulse_operation__"
_H = TypeVar("_H", bound=Callable[..., Any])
Q = TypeVar("Q", bound="Query")


class Query(BaseModel):
    """Base of the query strings' models. Unknown names are errors: a misspelt filter must not show everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Answer:
    """An answer besides the first one: what it means, its JSON (None: no JSON), the media types it comes in.

    `headers` are response headers that are always there, each with what it says.
    """

    description: str
    type: Any = None
    media: tuple[str, ...] = (JSON,)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One method of one address.

    - `answer`: the JSON of a good answer with `status`; `media` are the media types it may come in. Of a media type
      of lines (NDJSON), `answer` is what one line holds; any other that is no JSON is text or bytes.
    - `answers`: further answers by status, 304 or 207, say. One of `status` or of a problem's status adds its media
      types to those that are there.
    - `query`: the model of the query string. `path`: types of the path's parameters by name; text where not named.
      `headers`: types of the request headers that are read (but Accept, Content-Type and credentials).
    - `body`: the JSON taken, in any of `body_media`; of media types of lines, each line is one of `body` (its list
      forms left out). `examples`: bodies by a title for people.
    - `problems`: statuses of problem documents that do not follow from the rest: 404, 409, 415.
    - `upstream`: who else must answer for this to work, "Prometheus": 503 where it does not.
    - `websocket`: this is a handshake; the messages are described elsewhere.
    """

    tag: str
    answer: Any = None
    status: int = 200
    media: tuple[str, ...] = (JSON,)
    query: type[Query] | None = None
    body: Any = None
    body_media: tuple[str, ...] = (JSON,)
    path: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    upstream: str | None = None
    websocket: bool = False


def operation(  # noqa: PLR0913 - one argument per field of Operation
    tag: str,
    *,
    answer: Any = None,
    status: int = 200,
    media: tuple[str, ...] = (JSON,),
    query: type[Query] | None = None,
    body: Any = None,
    body_media: tuple[str, ...] = (JSON,),
    path: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
    answers: Mapping[int, Answer] | None = None,
    problems: tuple[int, ...] = (),
    examples: Mapping[str, Any] | None = None,
    upstream: str | None = None,
    websocket: bool = False,
) -> Callable[[_H], _H]:
    """Declares what a handler takes and answers: the fields of Operation.

    The docstring's first line is the summary, what follows the description.
    """
    declared = Operation(
        tag=tag,
        answer=answer,
        status=status,
        media=media,
        query=query,
        body=body,
        body_media=body_media,
        path=path or {},
        headers=headers or {},
        answers=answers or {},
        problems=problems,
        examples=examples or {},
        upstream=upstream,
        websocket=websocket,
    )

    def decorate(handler: _H) -> _H:
        setattr(handler, _OPERATION, declared)
        return handler

    return decorate


def operation_of(handler: object) -> Operation | None:
    """What a handler declares, if it does."""
    declared = getattr(handler, _OPERATION, None)
    return declared if isinstance(declared, Operation) else None


def read_query(request: web.Request, model: type[Q]) -> Q:
    """The query string as the model has it. Raises InvalidInputError that names what does not fit.

    A parameter whose field is a list may be given several times.
    """
    lists = {name for name, field in model.model_fields.items() if get_origin(field.annotation) in LISTS}
    times = Counter(name for name, _ in request.query.items() if name not in lists)
    repeated = [name for name, given in times.items() if given > 1]
    if repeated:
        errors = [{"loc": ["query", name], "msg": "is given more than once"} for name in repeated]
        raise InvalidInputError("the query does not validate", errors)
    try:
        given: dict[str, Any] = dict(request.query)
        return model.model_validate(given | {name: request.query.getall(name) for name in lists & given.keys()})
    except ValidationError as error:
        errors = [{**each, "loc": ["query", *each["loc"]]} for each in validation_errors(error)]
        raise InvalidInputError("the query does not validate", errors) from error
