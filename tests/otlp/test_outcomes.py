"""How spans say that a call failed, and the status each gets."""

from typing import Any

import pytest
from tests.otlp.sent import CHAT, failed, span, stored

EXCEPTION = {"exception.type": "openai.RateLimitError", "exception.message": "Error code: 429 - slow down"}


@pytest.mark.parametrize(
    ("kind", "message", "status", "error"),
    [
        ("TimeoutError", "", "timeout", "TimeoutError"),
        ("openai.APITimeoutError", "Request timed out.", "timeout", "openai.APITimeoutError: Request timed out."),
        ("504", "", "timeout", "504"),
        ("DEADLINE_EXCEEDED", "", "timeout", "DEADLINE_EXCEEDED"),
        ("429", "", "rate_limited", "429"),
        ("<class 'openai.RateLimitError'>", "too fast", "rate_limited", "openai.RateLimitError: too fast"),
        ("ThrottlingException", "", "rate_limited", "ThrottlingException"),
        ("asyncio.CancelledError", "", "cancelled", "asyncio.CancelledError"),
        ("500", "the server failed", "error", "500: the server failed"),
        ("ValueError", "ValueError: no", "error", "ValueError: no"),
        ("_OTHER", "Error code: 429", "rate_limited", "_OTHER: Error code: 429"),
        ("", "something", "error", "something"),
        ("", "", "error", None),
    ],
)
def test_failures(kind: str, message: str, status: str, error: str | None) -> None:
    log = stored(span(CHAT | ({"error.type": kind} if kind else {}), status=failed(message)))
    assert (log.status, log.error) == (status, error)


def test_the_exception_says_more_where_the_span_says_little() -> None:
    log = stored(span(status=failed(), events=[("exception", EXCEPTION)]))
    assert (log.status, log.error) == ("rate_limited", "openai.RateLimitError: Error code: 429 - slow down")


def test_an_error_type_is_a_failure_whatever_the_status_says() -> None:
    assert stored(span(CHAT | {"error.type": "500"})).status == "error"


def test_an_exception_that_was_overcome_is_none() -> None:
    log = stored(span(events=[("exception", EXCEPTION)]))
    assert (log.status, log.error) == ("success", None)


@pytest.mark.parametrize("odd", [5, ["a"], {"a": 1}, True])
def test_odd_types_are_taken_as_text(odd: Any) -> None:
    assert stored(span(CHAT | {"error.type": odd})).error == str(odd)
