import orjson
import pytest
from tests.journal.stand import requests

from fleetpulse.cluster.batches import BATCH_BYTES, BATCH_ROWS, Batch, packed, unpacked
from fleetpulse.journal import REQUESTS, Numbered, Row


def carried(first: int, rows: list[Row], upto: int) -> list[Batch]:
    numbered = [Numbered(number, row) for number, row in enumerate(rows, first)]
    payloads = packed("e", REQUESTS, first - 1, upto, numbered)
    return [unpacked(orjson.loads(orjson.dumps(payload))) for payload in payloads]


def test_what_is_unpacked_is_what_was_packed_and_batches_follow_each_other() -> None:
    rows: list[Row] = list(requests(range(1_000)))
    batches = carried(11, rows, 1_010)
    assert [each.row for batch in batches for each in batch.rows] == rows
    assert [each.number for batch in batches for each in batch.rows] == list(range(11, 1_011))
    assert [batch.after for batch in batches] == [10, *(batch.upto for batch in batches[:-1])]
    assert batches[-1].upto == 1_010
    assert all(len(batch.rows) <= BATCH_ROWS for batch in batches)


def test_large_rows_make_more_batches() -> None:
    batches = carried(1, list(requests(range(100), command="x" * 8_000)), 100)
    assert len(batches) > 1
    assert all(len(batch.rows) * 8_000 <= BATCH_BYTES for batch in batches)


def test_an_empty_page_speaks_for_its_ids_all_the_same() -> None:
    assert carried(5, [], 9) == [Batch("e", REQUESTS, 4, 9, [])]


def test_columns_of_a_newer_version_are_left_out_and_of_an_older_one_filled() -> None:
    (payload,) = (
        orjson.loads(orjson.dumps(each)) for each in packed("e", REQUESTS, 0, 1, [Numbered(1, requests([1])[0])])
    )
    wider = payload | {"rows": [[*payload["rows"][0], "new"]]}
    narrower = payload | {"rows": [payload["rows"][0][:-1]]}
    assert unpacked(wider).rows == unpacked(payload).rows == unpacked(narrower).rows


@pytest.mark.parametrize("broken", [{}, {"table": "none"}, {"rows": [[1]]}])
def test_what_is_no_batch_is_refused(broken: dict[str, object]) -> None:
    good = {"epoch": "e", "table": "requests", "after": 0, "upto": 1, "rows": []}
    with pytest.raises((KeyError, TypeError)):
        unpacked(good | broken if broken else {})
