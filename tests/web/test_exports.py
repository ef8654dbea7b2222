"""Files of requests: what is in them comes back out of them, whatever it was."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journal.stand import NOW, request

from fleetpulse.journal import RequestRow, rfc3339
from fleetpulse.web.exports import RISKY, Csv, Encoder, Gzip, JsonLines

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10) | st.sampled_from(
    ["=1+1", "'=1", "''", "-5", "@x", "\tx", "\r\n", 'a"b', "a,b", "＝1", "超时", "+"]
)
rows = st.lists(
    st.builds(
        lambda **fields: request("r", **fields),
        command=texts,
        error=st.none() | texts.filter(bool),
        user_id=texts,
        timestamp=st.none() | st.just(NOW - 5),
        cost=st.none() | st.floats(0, 1e6),
        execution_time=st.floats(0, 1e6),
        tokens_used=st.integers(0, 2**53),
        metadata=st.none() | st.just('{"k": "值"}'),
    ),
    max_size=5,
)


def file(encoder: Encoder[RequestRow], *parts: list[RequestRow]) -> bytes:
    return encoder.begin() + b"".join(map(encoder.encode, parts)) + encoder.end()


def unguarded(cell: str) -> str:
    """What documents say undoes the guard."""
    return cell.removeprefix("'")


def shown(value: object) -> str:
    return "" if value is None else str(value)


@given(rows, rows)
def test_csv_comes_back_as_it_was(first: list[RequestRow], second: list[RequestRow]) -> None:
    lines = list(csv.reader(io.StringIO(file(Csv(), first, second).decode(), newline="")))
    assert lines[0] == list(RequestRow._fields)
    assert len(lines) == 1 + len(first) + len(second)
    for row, cells in zip(first + second, lines[1:], strict=True):
        back = dict(zip(RequestRow._fields, map(unguarded, cells), strict=True))
        expected = {name: shown(value) for name, value in row._asdict().items()}
        times = {
            "received_at": rfc3339(row.received_at),
            "timestamp": rfc3339(row.received_at if row.timestamp is None else row.timestamp),
        }
        assert back == expected | times
        assert back["cost"] == "" or float(back["cost"]) == row.cost


@given(rows)
def test_no_cell_is_a_formula(some: list[RequestRow]) -> None:
    for cells in csv.reader(io.StringIO(file(Csv(), some).decode(), newline="")):
        assert not [cell for cell in cells if cell.startswith(RISKY) and not cell.startswith("'")]


@given(rows)
def test_without_the_guard_texts_are_as_they_were(some: list[RequestRow]) -> None:
    lines = list(csv.DictReader(io.StringIO(file(Csv(guarded=False), some).decode(), newline="")))
    assert [line["command"] for line in lines] == [row.command for row in some]


@given(rows)
def test_json_lines_are_what_the_api_shows(some: list[RequestRow]) -> None:
    lines = file(JsonLines(), some).decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [row.as_json() for row in some]
    assert lines[-1] == ""


@pytest.mark.parametrize("make", [Csv, JsonLines])
@given(first=rows, second=rows)
def test_compressed_it_is_the_same(
    make: type[Csv[RequestRow] | JsonLines[RequestRow]], first: list[RequestRow], second: list[RequestRow]
) -> None:
    assert gzip.decompress(file(Gzip(make()), first, second)) == file(make(), first, second)


def test_the_mark_of_utf8_comes_first_and_once() -> None:
    written = file(Csv(bom=True), [request("a")], [request("b")])
    assert written.startswith(b"\xef\xbb\xbfrequest_id,")
    assert written.count(b"\xef\xbb\xbf") == 1
