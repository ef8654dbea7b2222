from pathlib import Path

from fleetpulse.stack.logs import MAX_BYTES, TAIL_LINES, ChildLog


def test_the_tail_is_the_last_lines_also_an_unfinished_one(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "logs" / "a.log")
    log.write(b"".join(b"line %d\n" % number for number in range(100)))
    log.write(b"half")
    log.write(b" a line")
    lines = log.tail().splitlines()
    assert lines[-1] == "half a line"
    assert lines[0] == f"line {100 - TAIL_LINES}"
    log.close()
    assert log.path.read_bytes().endswith(b"line 99\nhalf a line")


def test_the_log_is_bounded_on_disk_and_in_memory(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "a.log")
    chunk = b"x" * 2**16
    for _ in range(3 * MAX_BYTES // len(chunk)):
        log.write(chunk)
    assert len(log.tail()) < 40_000
    log.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert all(size <= MAX_BYTES + len(chunk) for size in sizes)
