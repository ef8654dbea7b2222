"""What the queries of searches have in common: exact values, times, texts, pages."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fleetpulse.errors import InvalidInputError
from fleetpulse.query.text import TextQuery, parse
from fleetpulse.query.windows import moment
from fleetpulse.web.answers import MAX_PAGE, digits

MAX_TERMS = 16
START = "Received from then on: RFC 3339 with an offset, or a date, which is its midnight in the configured zone."
END = "Received before then; the same forms."


def absent(text: Any) -> Any:
    """A filter that is left empty, as forms send it, is none."""
    return None if text == "" else text


Exactly = Annotated[Annotated[str, Field(max_length=200)] | None, BeforeValidator(absent)]
Moment = Annotated[Annotated[str, Field(max_length=40)] | None, BeforeValidator(absent)]
Limit = Annotated[int, BeforeValidator(digits), Field(ge=1, le=MAX_PAGE, description="Most in a page.")]
Cursor = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{0,15}$",
        description="`next_cursor` of the page before, as it is; without it, the newest.",
    ),
]


def searched(q: str) -> TextQuery:
    """What is searched for; nothing where it is blank. Raises InvalidInputError."""
    text = parse(q)
    if q.strip() and not text.terms:
        raise wrong("q", "holds nothing to search for: neither a word nor a number nor a character")
    if len(text.terms) > MAX_TERMS:
        raise wrong("q", f"has more than {MAX_TERMS} words")
    return text


def seconds(name: str, text: str | None, now: datetime) -> float | None:
    """A time of a query in Unix seconds. Raises InvalidInputError."""
    return None if text is None else moment(name, text, now).timestamp()


def before(cursor: str) -> int | None:
    """The id before which a page begins."""
    return int(cursor, 16) if cursor else None


def cursor(next_id: int | None) -> str | None:
    """The cursor of the next page."""
    return None if next_id is None else f"{next_id:x}"


def wrong(name: str, message: str) -> InvalidInputError:
    """One part of a query is wrong."""
    return InvalidInputError("the query does not validate", [{"loc": ["query", name], "msg": message}])
