import json
from typing import Any

import pytest
from pydantic import ValidationError
from tests.notices.stand import request

from fleetpulse.notices.model import Level, wire


def test_the_message_is_the_documents() -> None:
    asked = request(
        title="设备状态变化",
        message="设备 张三的微信 状态从 在线 变更为 离线",
        level="WARNING",
        action_url="/devices/device_123",
        metadata={"secret": "not sent"},
    )
    assert wire(asked.row("notify_1642245600", 1_705_329_000.0, "ops")) == {
        "type": "notification",
        "notification": {
            "id": "notify_1642245600",
            "title": "设备状态变化",
            "message": "设备 张三的微信 状态从 在线 变更为 离线",
            "type": "warning",
            "action_url": "/devices/device_123",
            "auto_close": False,
            "timestamp": "2024-01-15T14:30:00.000Z",
        },
    }


def test_what_is_to_make_no_sound_says_so() -> None:
    assert wire(request().row("n", 0.0, ""), quiet=True)["notification"]["quiet"] is True


@pytest.mark.parametrize(
    ("level", "given", "closes"),
    [("INFO", None, True), ("success", None, True), ("WARNING", None, False), ("error", True, True)],
)
def test_only_what_informs_closes_by_itself(level: str, *, given: bool | None, closes: bool) -> None:
    row = request(level=level, auto_close=given).row("n", 0.0, "")
    assert json.loads(row.document)["auto_close"] is closes


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": "two\nlines"},
        {"title": "x" * 201},
        {"message": "x" * 4_001},
        {"message": "\0"},
        {"level": "LOUD"},
        {"level": 3},
        {"channels": []},
        {"channels": ["FAX"]},
        {"kind": "With Spaces"},
        {"action_url": "javascript:alert(1)"},
        {"action_url": "//elsewhere.example.com/x"},
        {"action_url": "/\\elsewhere.example.com"},
        {"action_url": "data:text/html,x"},
        {"recipients": {}},
        {"recipients": {"users": []}},
        {"recipients": {"users": ["u1"], "all": True}},
        {"recipients": {"users": ["x" * 201]}},
        {"recipients": {"users": [f"u{n}" for n in range(1_001)]}},
        {"recipients": {"roles": ["king"]}},
        {"dedup_seconds": -1},
        {"expires_at": "2030-01-01T00:00:00"},
        {"metadata": {"x": "y" * 20_000}},
        {"colour": "red"},
    ],
)
def test_what_breaks_the_contract_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**wrong)


@pytest.mark.parametrize("url", ["/", "/devices/1?tab=2#x", "https://example.com/a", "http://localhost:3000"])
def test_links_lead_to_pages(url: str) -> None:
    assert request(action_url=url).action_url == url


def test_what_is_the_same() -> None:
    about = {"kind": "device_status", "subject": "d1", "level": "WARNING"}
    assert request(**about, title="one").key == request(**about, title="another").key
    different = [
        request(),
        request(title="another"),
        request(message="else"),
        request(**about),
        request(**about | {"subject": "d2"}),
        request(**about | {"level": "ERROR"}),
        request(**about | {"kind": "takeover"}),
        request(dedup_key="mine"),
    ]
    assert len({each.key for each in different}) == len(different)


def test_levels_have_an_order_and_a_severity() -> None:
    assert [level.severity for level in sorted(Level, key=lambda each: each.rank)] == [
        "info",
        "info",
        "warning",
        "critical",
        "critical",
    ]
