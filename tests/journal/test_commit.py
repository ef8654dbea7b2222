"""Group commit: acknowledged is stored, once each, in order; a broken write harms no other."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.journal.stand import Hold, Run, alert, at_work, begin, crash, held, no_totals, request, requests

from fleetpulse import catalogue
from fleetpulse.journal import ALERTS, REQUESTS, Outcome, Row, Table
from fleetpulse.journal.totals import Deltas, Key
from fleetpulse.journal.writes import DeleteOldest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def new(outcome: Outcome) -> list[str]:
    return [row[0] for row in outcome.new]


async def test_what_is_acknowledged_is_in_the_file_and_in_the_series(path: Path) -> None:
    async with at_work(path) as stand:
        for number in range(5):
            outcome = await stand.journal.store(REQUESTS, [request(f"r{number}")])
            assert (new(outcome), outcome.duplicates) == ([f"r{number}"], 0)
            assert stand.ids() == [f"r{each}" for each in range(number + 1)]
            key = Key(catalogue.REQUESTS.name, ("telegram", "gpt-4o", "success"))
            assert stand.totals()[key] == number + 1
            assert stand.series.child(catalogue.REQUESTS, key.labels).parts[""].value == number + 1
            assert stand.told[-1] == ("requests", f"r{number}")


async def test_what_is_acknowledged_survives_a_kill(path: Path, tmp_path: Path) -> None:
    async with at_work(path, synchronous="normal") as stand:
        await stand.journal.store(REQUESTS, requests(range(300)))
        left = crash(path, tmp_path / "after")
    async with at_work(left) as stand:
        assert stand.ids() == [f"r{each}" for each in range(300)]
        assert stand.journal.totals[Key(catalogue.SIGNALS.name, ("request", "stored"))].value == 300


async def test_writes_of_one_moment_share_a_transaction(path: Path) -> None:
    async with at_work(path) as stand:
        writes = [stand.journal.store(REQUESTS, [request(f"r{number}")]) for number in range(200)]
        outcomes = await asyncio.gather(*writes)
        assert [new(outcome) for outcome in outcomes] == [[f"r{number}"] for number in range(200)]
        assert stand.value(catalogue.JOURNAL_COMMITS) == 1
        assert stand.ids() == [f"r{number}" for number in range(200)]


async def test_writes_that_arrive_during_a_commit_share_the_next(path: Path) -> None:
    async with at_work(path) as stand:
        async with held(stand.journal):
            tasks = await begin(*(stand.journal.store(REQUESTS, [request(f"r{each}")]) for each in range(100)))
        await asyncio.gather(*tasks)
        assert stand.value(catalogue.JOURNAL_COMMITS) == 2
        assert [key for _, key in stand.told] == [f"r{each}" for each in range(100)]


async def test_one_batch_with_a_row_twice_keeps_the_first(path: Path) -> None:
    async with at_work(path) as stand:
        rows = [request("a", user_id="first"), request("b"), request("a", user_id="second")]
        outcome = await stand.journal.store(REQUESTS, rows)
        assert (new(outcome), outcome.duplicates) == (["a", "b"], 1)
        assert stand.eyes.execute("SELECT user_id FROM requests WHERE request_id = 'a'").fetchall() == [("first",)]


async def test_a_batch_sent_again_changes_no_total_but_the_duplicates(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(10)))
        before = stand.totals()
        outcome = await stand.journal.store(REQUESTS, requests(range(10)))
        assert (new(outcome), outcome.duplicates) == ([], 10)
        duplicates = Key(catalogue.SIGNALS.name, ("request", "duplicate"))
        assert stand.totals() == before | {duplicates: 10}
        assert len(stand.told) == 10


async def test_duplicates_are_known_after_a_restart(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(10)))
    async with at_work(path) as stand:
        outcome = await stand.journal.store(REQUESTS, requests(range(5, 15)))
        assert (new(outcome), outcome.duplicates) == ([f"r{each}" for each in range(10, 15)], 5)


async def test_new_and_repeated_rows_in_one_group_are_told_apart(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("ab"))
        async with held(stand.journal):
            batches = ("c", "acd", "", "bb", "e", "dcf")
            tasks = await begin(*(stand.journal.store(REQUESTS, requests(each)) for each in batches))
        outcomes = await asyncio.gather(*tasks)
        assert [new(outcome) for outcome in outcomes] == [["rc"], ["rd"], [], [], ["re"], ["rf"]]
        assert [outcome.duplicates for outcome in outcomes] == [0, 2, 0, 2, 0, 2]
        assert stand.ids() == ["ra", "rb", "rc", "rd", "re", "rf"]
        assert stand.value(catalogue.JOURNAL_COMMITS) == 3, "one for the first two, one held, one for the group"


async def test_two_tables_in_one_group_keep_their_own_order(path: Path) -> None:
    async with at_work(path) as stand:
        async with held(stand.journal):
            tasks = await begin(
                stand.journal.store(REQUESTS, requests("ab")),
                stand.journal.store(ALERTS, [alert("f1"), alert("f2"), alert("f1")]),
                stand.journal.store(REQUESTS, requests("bc")),
                stand.journal.store(ALERTS, [alert("f1", "resolved")]),
            )
        outcomes = await asyncio.gather(*tasks)
        assert [len(outcome.new) for outcome in outcomes] == [2, 2, 1, 1]
        assert [outcome.duplicates for outcome in outcomes] == [0, 1, 1, 0]
        assert stand.ids() == ["ra", "rb", "rc"]
        assert [key.split("/")[0] for key in stand.ids(ALERTS)] == ["f1", "f2", "f1"]
        assert [key for table, key in stand.told if table == "requests"] == ["ra", "rb", "rc"]


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (request("bad", command="\ud800"), UnicodeEncodeError),
        (request("\udcff"), UnicodeEncodeError),
        (request("bad", source=None), sqlite3.IntegrityError),
        (request("bad", tokens_used=2**70), OverflowError),
        (request("bad", metadata={"not": "text"}), sqlite3.Error),
    ],
)
@pytest.mark.parametrize("repeated", [False, True])
async def test_a_broken_write_fails_alone(
    path: Path, broken: Row, error: type[Exception], *, repeated: bool
) -> None:
    async with at_work(path) as stand:
        if repeated:  # the group goes the way of groups with duplicates
            await stand.journal.store(REQUESTS, [request("x0")])
        async with held(stand.journal):
            tasks = await begin(
                stand.journal.store(REQUESTS, [request("x0"), request("x1")]),
                stand.journal.store(REQUESTS, [request("y0"), broken, request("y1")]),
                stand.journal.store(ALERTS, [alert("f")]),
                stand.journal.store(REQUESTS, [request("x2")]),
            )
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], error)
        assert [isinstance(each, Outcome) for each in results] == [True, False, True, True]
        assert stand.ids() == ["x0", "x1", "x2"]
        assert stand.totals()[Key(catalogue.SIGNALS.name, ("request", "stored"))] == 3
        assert len(stand.ids(ALERTS)) == 1
        assert stand.journal.writable
        assert stand.value(catalogue.JOURNAL_FAILURES, "internal") == 1
        assert len((await stand.journal.store(REQUESTS, [request("y0"), request("y1")])).new) == 2


async def test_a_fold_that_fails_leaves_no_row_and_no_total(path: Path) -> None:
    def fold(table: Table, new: Sequence[Row], duplicates: int, now: float) -> Deltas:  # noqa: ARG001 - a Fold
        if any(row[0] == "poison" for row in new):
            raise ZeroDivisionError
        return {Key("rows", ()): float(len(new))}

    async with at_work(path, fold=fold) as stand:
        async with held(stand.journal):
            tasks = await begin(
                stand.journal.store(REQUESTS, requests("ab")),
                stand.journal.store(REQUESTS, [request("c"), request("poison")]),
                stand.journal.store(REQUESTS, requests("d")),
            )
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], ZeroDivisionError)
        assert stand.ids() == ["ra", "rb", "rd"]
        assert stand.totals() == {Key("rows", ()): 3.0}


async def test_a_failed_write_of_another_kind_is_undone_and_told(path: Path) -> None:
    class Half:
        size = 0

        def run(self, connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO agents VALUES ('a', 1.0, '{}')")
            connection.execute("INSERT INTO agents VALUES ('a', 1.0, '{}')")

    async with at_work(path, fold=no_totals) as stand:
        async with held(stand.journal):
            tasks = await begin(stand.journal.submit(Half()), stand.journal.store(REQUESTS, requests("a")))
        broken, fine = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(broken, sqlite3.IntegrityError)
        assert isinstance(fine, Outcome)
        assert stand.journal.saved_agents() == []
        assert stand.ids() == ["ra"]


async def test_a_cancelled_submitter_harms_nobody_and_its_rows_are_stored(path: Path) -> None:
    async with at_work(path, queue_rows=10) as stand:
        async with held(stand.journal):
            tasks = await begin(*(stand.journal.store(REQUESTS, requests(each)) for each in ("ab", "cd", "ef")))
            tasks[1].cancel()
            await asyncio.sleep(0)
            assert stand.value(catalogue.JOURNAL_PENDING) == 6
        first, cancelled, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(cancelled, asyncio.CancelledError)
        assert isinstance(first, Outcome)
        assert isinstance(last, Outcome)
        assert stand.ids() == [f"r{each}" for each in "abcdef"]
        assert [key for _, key in stand.told] == stand.ids()
        assert stand.value(catalogue.JOURNAL_PENDING) == 0


async def test_stop_writes_everything_that_was_submitted(path: Path) -> None:
    async with at_work(path) as stand:
        hold = Hold()
        waiting = await begin(
            stand.journal.submit(hold),
            *(stand.journal.store(REQUESTS, requests(range(start, start + 7))) for start in range(0, 7_000, 7)),
        )
        stopping = asyncio.create_task(stand.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        hold.release.set()
        await stopping
        outcomes = [task.result() for task in waiting[1:]]
        assert sum(len(outcome.new) for outcome in outcomes) == 7_000
    async with at_work(path) as stand:
        assert stand.journal.extent(REQUESTS)[0] == 7_000


async def test_groups_larger_than_one_transaction_keep_their_order(path: Path) -> None:
    async with at_work(path, synchronous="normal", queue_rows=100_000) as stand:
        async with held(stand.journal):
            starts = range(0, 40_000, 1_000)
            writes = [stand.journal.store(REQUESTS, requests(range(start, start + 1_000))) for start in starts]
            tasks = await begin(*writes)
        await asyncio.gather(*tasks)
        assert stand.ids() == [f"r{each}" for each in range(40_000)]
        assert [key for _, key in stand.told] == stand.ids()
        assert 3 <= stand.value(catalogue.JOURNAL_COMMITS) <= 6


async def test_ids_have_no_holes_after_duplicates(path: Path) -> None:
    async with at_work(path) as stand:
        for rows in (requests("ab"), requests("abab"), requests("acbd"), requests("e")):
            await stand.journal.store(REQUESTS, rows)
        assert await stand.journal.submit(Run("SELECT id FROM requests ORDER BY id")) == [
            (each,) for each in range(1, 6)
        ]
        assert stand.journal.extent(REQUESTS)[0] == 5


async def test_rows_are_told_with_the_ids_they_have_in_the_file(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(3)))
        writes = [requests([2, 10]), requests([1]), requests([11, 10, 12])]
        await asyncio.gather(*(stand.journal.store(REQUESTS, rows) for rows in writes))
        await stand.journal.store(ALERTS, [alert("a")])
        assert stand.ids_of(REQUESTS) == [each for each in stand.numbered if each[0] == "requests"]
        assert [number for _, number, _ in stand.ids_of(REQUESTS)] == list(range(1, 7))
        assert stand.ids_of(ALERTS) == [each for each in stand.numbered if each[0] == "alert_events"]
    epoch, kept = stand.journal.epoch, stand.numbered
    async with at_work(path) as again:
        await again.journal.store(REQUESTS, requests([20]))
        assert again.numbered == [("requests", len([each for each in kept if each[0] == "requests"]) + 1, "r20")]
        assert again.journal.epoch == epoch != ""


async def test_ids_go_on_where_all_rows_are_gone(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(3)))
        await stand.journal.submit(DeleteOldest(REQUESTS, 10))
    async with at_work(path) as again:
        await again.journal.store(REQUESTS, requests([7]))
        assert again.numbered == again.ids_of(REQUESTS) == [("requests", 4, "r7")]
