from pathlib import Path

import pytest
from tests.journal.stand import NOW, at_work, request, requests

from fleetpulse.journal import REQUESTS
from fleetpulse.query import failures
from fleetpulse.query.failures import Failure, top_errors


async def test_failures_are_counted_by_status_and_error(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(
            REQUESTS,
            [
                *requests(range(5)),
                *requests(range(10, 13), status="error", error="超时: upstream"),
                *requests(range(20, 22), status="timeout", error="no answer"),
                *requests(range(30, 32), status="error", error="no answer"),
                request("plain", status="error"),
            ],
        )
        assert await top_errors(stand.journal, NOW, NOW + 1) == [
            Failure("error", "超时: upstream", 3),
            Failure("error", "no answer", 2),
            Failure("timeout", "no answer", 2),
            Failure("error", "", 1),
        ]
        assert await top_errors(stand.journal, NOW, NOW + 1, limit=1) == [Failure("error", "超时: upstream", 3)]


async def test_the_window_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        for second in range(10):
            failed = request(f"r{second}", received_at=NOW + second, status="error", error=str(second))
            await stand.journal.store(REQUESTS, [failed])
        found = await top_errors(stand.journal, NOW + 2, NOW + 5)
        assert [each.error for each in found] == ["2", "3", "4"]
        assert await top_errors(stand.journal, NOW + 20, NOW + 30) == []
        assert await top_errors(stand.journal, NOW + 5, NOW + 2) == []


async def test_of_one_source(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(REQUESTS, requests(range(3), status="error", error="a"))
        await stand.journal.store(REQUESTS, requests(range(3, 5), status="error", error="b", source="web"))
        assert await top_errors(stand.journal, NOW, NOW + 1, "web") == [Failure("error", "b", 2)]


async def test_what_is_read_in_steps_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "STEP_ROWS", 7)
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(REQUESTS, requests(range(50), status="error", error="x" * 500))
        assert await top_errors(stand.journal, NOW, NOW + 1) == [Failure("error", "x" * 200, 50)]


async def test_an_empty_journal_has_none(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        assert await top_errors(stand.journal, 0, NOW) == []
