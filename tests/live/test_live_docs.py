from pathlib import Path

import pytest

from fleetpulse.live import Cause

PAGE = (Path(__file__).parents[2] / "docs" / "live.md").read_text()


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.BYE])
def test_close_codes_are_documented(cause: Cause) -> None:
    assert f"\n| {cause.code} |" in PAGE


@pytest.mark.parametrize(
    "kind",
    [
        "subscribed",
        "snapshot",
        "update",
        "event",
        "left",
        "position",
        "gap",
        "unsubscribed",
        "pong",
        "error",
        "auth_expiring",
        "authenticated",
    ],
)
def test_message_types_are_documented(kind: str) -> None:
    assert f"\n| `{kind}` |" in PAGE
