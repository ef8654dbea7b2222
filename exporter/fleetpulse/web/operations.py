"""What a handler takes and answers, declared beside it: what `/openapi.json` is made from.

The declared query model is the one that reads the query, so what is documented is what is checked.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from fleetpulse.errors import InvalidInputError
from fleetpulse.web.problems import validation_errors

JSON = "application/json"
_OPERATION = "__fleetpulse_operation__"
_H = TypeVar("_H", bound=Callable[..., Any])
Q = TypeVar("Q", bound="Query")


class Query(BaseModel):
    """Base of the query strings' models. Unknown names are errors: a misspelt filter must not show everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Operation:
    """One method of one address. Types are whatever pydantic's TypeAdapter takes; None where there is no JSON.

    `answer` is the JSON of a good answer with `status`; `media` lists the media types it may come in instead.
    `body` is the JSON taken, in any of `body_media`.
    """

    tag: str
    answer: Any = None
    status: int = 200
    media: tuple[str, ...] = (JSON,)
    query: type[Query] | None = None
    body: Any = None
    body_media: tuple[str, ...] = (JSON,)


def operation(  # noqa: PLR0913 - one argument per field of Operation
    tag: str,
    *,
    answer: Any = None,
    status: int = 200,
    media: tuple[str, ...] = (JSON,),
    query: type[Query] | None = None,
    body: Any = None,
    body_media: tuple[str, ...] = (JSON,),
) -> Callable[[_H], _H]:
    """Declares what a handler takes and answers; its docstring's first line is the summary."""

    def decorate(handler: _H) -> _H:
        setattr(handler, _OPERATION, Operation(tag, answer, status, media, query, body, body_media))
        return handler

    return decorate


def operation_of(handler: object) -> Operation | None:
    """What a handler declares, if it does."""
    declared = getattr(handler, _OPERATION, None)
    return declared if isinstance(declared, Operation) else None


def read_query(request: web.Request, model: type[Q]) -> Q:
    """The query string as the model has it. Raises InvalidInputError that names what does not fit."""
    repeated = [name for name, times in Counter(request.query.keys()).items() if times > 1]
    if repeated:
        errors = [{"loc": ["query", name], "msg": "is given more than once"} for name in repeated]
        raise InvalidInputError("the query does not validate", errors)
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        errors = [{**each, "loc": ["query", *each["loc"]]} for each in validation_errors(error)]
        raise InvalidInputError("the query does not validate", errors) from error
