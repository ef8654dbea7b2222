import pytest

from fleetpulse.tap.endings import closed, seconds

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
        ("9" * 400, 999_999_999.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("", None),
    ],
)
def test_what_a_server_asks_for(header: str | None, expected: float | None) -> None:
    assert seconds(header, NOW) == expected


@pytest.mark.parametrize(
    ("code", "cause", "fatal"),
    [(1000, "closed", False), (1001, "closed", False), (1008, "policy", True), (1012, "closed", False)],
)
def test_close_codes_say_whether_to_come_again(code: int, cause: str, *, fatal: bool) -> None:
    ending = closed(code, "")
    assert (ending.cause, ending.code, ending.fatal) == (cause, code, fatal)


def test_a_close_without_a_code_is_1005() -> None:
    assert closed(0, "").code == 1005
