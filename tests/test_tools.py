from pathlib import Path

import pytest
from tests.tools import find_tool


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("FLEETPULSE_TOOLS", str(tmp_path / "tools"))
    return tmp_path / "path", tmp_path / "tools" / "usr" / "bin"


def test_path_comes_before_the_unpacked_packages(folders: tuple[Path, Path]) -> None:
    path, unpacked = folders
    program(unpacked, "promtool")
    assert find_tool("promtool") == unpacked / "promtool"
    program(path, "promtool")
    assert find_tool("promtool") == path / "promtool"


def test_alertmanager_goes_by_its_debian_name_too(folders: tuple[Path, Path]) -> None:
    _, unpacked = folders
    assert find_tool("alertmanager") is None
    program(unpacked, "prometheus-alertmanager")
    assert find_tool("alertmanager") == unpacked / "prometheus-alertmanager"
