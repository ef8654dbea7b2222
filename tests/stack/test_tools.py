import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetpulse.errors import ConfigError
from fleetpulse.stack import tools

PROGRAM = "#!/bin/sh\necho version 1\nexit {code}\n"
CONTENTS = {
    "prometheus": ("prometheus", "promtool"),
    "prometheus-alertmanager": ("prometheus-alertmanager", "amtool"),
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package archive of our own that the real apt-get reads, without network; its lists were never updated."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH: packages are only fetched on Debian and Ubuntu")
    archive = tmp_path / "archive"
    archive.mkdir()
    for package in CONTENTS:
        build(archive, package)
    (archive / "Packages").write_text("\n".join(described(path) for path in sorted(archive.glob("*.deb"))))
    state = tmp_path / "state"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (tmp_path / "status").write_text("")
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] copy:{archive} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list"; Dir::Etc::sourceparts "/dev/null"; '
        f'Dir::State::lists "{state}/lists"; Dir::Cache "{state}/cache"; '
        f'Dir::State::status "{tmp_path}/status"; APT::Sandbox::User "";'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return archive


def build(archive: Path, package: str, code: int = 0) -> None:
    tree = archive / "tree" / package
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: for a test\n"
    )
    for name in CONTENTS[package]:
        program = tree / "usr" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(PROGRAM.format(code=code))
        program.chmod(0o755)
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc" / "unneeded").write_text("")
    subprocess.run(["dpkg-deb", "--build", tree, archive / f"{package}.deb"], check=True, capture_output=True)


def described(path: Path) -> str:
    fields = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
    digest = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]
    return f"{fields}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"


def test_packages_are_fetched_and_unpacked_although_no_lists_are_here(shop: Path, tmp_path: Path) -> None:
    assert shop.is_dir()
    folder = tmp_path / "tools"
    tools.fetch(folder)
    for programs in CONTENTS.values():
        for name in programs:
            assert os.access(folder / "usr" / "bin" / name, os.X_OK)
    assert sorted(path.name for path in folder.iterdir()) == ["usr"], "only what is needed stays"
    assert not (tmp_path / "tools.new").exists()


def test_a_program_that_does_not_run_leaves_the_folder_as_it_was(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "mine").write_text("kept")
    build(shop, "prometheus", code=1)
    (shop / "Packages").write_text("\n".join(described(path) for path in sorted(shop.glob("*.deb"))))
    with pytest.raises(ConfigError, match="the packaged prometheus does not run"):
        tools.fetch(folder)
    assert (folder / "mine").read_text() == "kept"
    assert not (tmp_path / "tools.new").exists()


def test_a_failing_download_says_what_to_do(shop: Path, tmp_path: Path) -> None:
    (shop / "prometheus.deb").unlink()
    with pytest.raises(ConfigError, match="apt-get download failed") as caught:
        tools.fetch(tmp_path / "tools")
    assert "https://prometheus.io/download/" in str(caught.value)
    assert str(tmp_path / "tools" / "usr" / "bin") in str(caught.value)


def test_where_there_is_no_apt_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(ConfigError, match="apt-get is not here"):
        tools.ensure(tmp_path / "tools", said.append)
    assert "fetching" in said[0]


def test_path_wins_over_the_tools_folder_and_debians_name_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path, unpacked = tmp_path / "bin", tmp_path / "tools" / "usr" / "bin"
    for folder in (on_path, unpacked):
        folder.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(on_path))
    assert tools.find("alertmanager", tmp_path / "tools") is None
    expected = [unpacked / "prometheus-alertmanager", on_path / "alertmanager", on_path / "prometheus-alertmanager"]
    for program in expected:
        program.write_text(PROGRAM)
        program.chmod(0o755)
        assert tools.find("alertmanager", tmp_path / "tools") == program
