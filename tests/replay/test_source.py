from pathlib import Path

import pytest

from fleetpulse.errors import InvalidInputError
from fleetpulse.replay.source import Record, look


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_csv_with_a_byte_order_mark_quotes_and_no_last_newline(tmp_path: Path) -> None:
    source = look(write(tmp_path / "a.csv", '\ufeffsource, command\nweb,"one,\ntwo"\n\nide,x'))
    assert source.format == "csv"
    assert source.columns == ("source", "command")
    assert list(source.records()) == [
        Record(0, {"source": "web", "command": "one,\ntwo"}),
        Record(1, {"source": "ide", "command": "x"}),
    ]


def test_a_row_with_too_many_cells_is_an_error_and_a_short_one_lacks_fields(tmp_path: Path) -> None:
    first, second = look(write(tmp_path / "a.csv", "a,b\n1,2,3\n4\n")).records()
    assert first.error == "has 3 cells under 2 columns"
    assert second == Record(1, {"a": "4"})


def test_json_lines_keep_their_types_and_bad_lines_their_place(tmp_path: Path) -> None:
    source = look(write(tmp_path / "a.log", '{"cost": 0.5}\n\nnonsense\n[1]\n{"cost": null}'))
    assert source.format == "jsonl"
    records = list(source.records())
    assert records[0] == Record(0, {"cost": 0.5})
    assert records[1].error is not None
    assert "is not JSON" in records[1].error
    assert records[2].error == "is not a JSON object"
    assert records[3] == Record(3, {"cost": None})


def test_rows_are_counted_and_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one = look(write(tmp_path / "a.csv", "a\n1\n2"))
    same = look(write(tmp_path / "b.csv", "a\n1\n2"))
    other = look(write(tmp_path / "c.csv", "a\n1\n3"))
    assert one.rows == 2
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"a\.csv"):
        look(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        look(tmp_path / "none.csv")


def test_a_file_that_stops_being_text_is_an_error_where_it_does(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n" + b"1\n" * 10_000 + b"\xff\n")
    with pytest.raises(InvalidInputError, match="cannot be read further"):
        list(look(path).records())
