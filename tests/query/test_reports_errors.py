"""Errors that differ only in numbers and ids are one kind; nothing else is lost or put together."""

import pytest

from fleetpulse.query.error_kinds import kind, top_kinds
from fleetpulse.query.failures import Failure


@pytest.mark.parametrize(
    "texts",
    [
        ("timeout after 30.2 s", "timeout after 4 s"),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy failed", "request req_9XYabc123 failed"),
        ("no user 6f1c2f0e-6c9f-4d3b-8a55-0a3d5c1f7e11", "no user 00000000-0000-4000-8000-000000000000"),
        ("object deadbeef01 is gone", "object 12ab34cd56 is gone"),
        ("at 2025-05-12 14:05:01,123", "at 2024-01-01 00:00:00,000"),
        ("用户 42 余额不足", "用户 7 余额不足"),
        ("a\n  b 1", "a b 2"),
    ],
)
def test_what_varies_is_left_out(texts: tuple[str, str]) -> None:
    assert kind(texts[0]) == kind(texts[1])


@pytest.mark.parametrize(
    "texts",
    [
        ("connection refused", "connection reset"),
        ("rate limit", "rate limited"),
        ("", "x"),
        ("deaf facade", "deaf beef"),
    ],
)
def test_words_are_kept(texts: tuple[str, str]) -> None:
    assert kind(texts[0]) != kind(texts[1])


def test_kinds_are_counted_and_go_by_the_commonest_text() -> None:
    failures = [
        Failure("error", "no key", 8),
        Failure("timeout", "after 30 s", 6),
        Failure("timeout", "after  31 s", 5),
        Failure("error", "after 30 s", 2),
        Failure("error", "", 1),
    ]
    found = [(each.status, each.error, each.requests, each.texts) for each in top_kinds(failures, 3)]
    assert found == [("timeout", "after 30 s", 11, 2), ("error", "no key", 8, 1), ("error", "after 30 s", 2, 1)]
