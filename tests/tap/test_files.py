import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tap.items import heard

from fleetpulse.errors import InvalidInputError
from fleetpulse.tap.files import LineFile, Stream, numbered
from fleetpulse.tap.output import Item, text_line

LINE = 20


def line(item: Item) -> bytes:
    return text_line(item).rpartition(b" ")[2].rstrip(b"\n").ljust(LINE - 1) + b"\n"


def write(file: LineFile, *texts: str) -> None:
    items = [heard(text, number) for number, text in enumerate(texts, 1)]
    while items:
        items = items[file.write(items) :]


def words(path: Path) -> list[str]:
    return path.read_text().split()


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    for text in ("one", "two"):
        file = LineFile(path, line)
        write(file, text)
        file.close()
    assert words(path) == ["one", "two"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_line_that_a_crash_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"whole\nhal")
    file = LineFile(path, line)
    write(file, "next")
    file.close()
    assert path.read_text().splitlines() == ["whole", "hal", "next".ljust(LINE - 1)]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "out.txt", line)
    with pytest.raises(InvalidInputError, match="another program writes to it"):
        LineFile(tmp_path / "out.txt", line)
    file.close()
    LineFile(tmp_path / "out.txt", line).close()


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Is a directory"):
        LineFile(tmp_path, line)


def test_a_full_file_becomes_the_first_of_the_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    file = LineFile(path, line, limit=2 * LINE, keep=2)
    write(file, *"abcdefg")
    file.close()
    assert [words(each) for each in (path, numbered(path, 1), numbered(path, 2))] == [["g"], ["e", "f"], ["c", "d"]]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.txt", "out.txt.1", "out.txt.2"]
    assert all(each.stat().st_size <= 2 * LINE for each in tmp_path.iterdir())


def test_without_older_ones_it_begins_anew(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "out.txt", line, limit=LINE, keep=0)
    write(file, "a", "b")
    file.close()
    assert words(tmp_path / "out.txt") == ["b"]


def test_a_line_above_the_limit_has_a_file_of_its_own(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "out.txt", line, limit=LINE // 2, keep=9)
    write(file, "a", "b", "c")
    file.close()
    assert [words(path) for path in sorted(tmp_path.iterdir())] == [["c"], ["b"], ["a"]]


@pytest.fixture
def short_files() -> Iterator[int]:
    """No file may grow past some bytes: the end of a write fails, as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    bound = int(2.5 * LINE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, former[1]))
    try:
        yield bound
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_so_it_is_where_standard_output_is_a_file(tmp_path: Path, short_files: int) -> None:
    path = tmp_path / "out.txt"
    with path.open("wb", buffering=0) as file:
        file.write(b"before\n")
        stream = Stream(file.fileno(), line)
        stream.write([heard("one")])
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            stream.write([heard("two"), heard("three")])
        assert words(path) == ["before", "one"]
        stream.write([heard("two")])
    assert words(path) == ["before", "one", "two"]
    assert path.stat().st_size <= short_files


def test_a_write_that_fails_leaves_nothing_of_itself(tmp_path: Path, short_files: int) -> None:
    path = tmp_path / "out.txt"
    file = LineFile(path, line)
    write(file, "one")
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        write(file, "two", "three")
    assert words(path) == ["one"]
    write(file, "two")
    file.close()
    assert words(path) == ["one", "two"]
    assert path.stat().st_size <= short_files
