import subprocess
from pathlib import Path

import pytest
from tests.system.harness import Program, free_port, wait_for

from fleetpulse.errors import ConfigError
from fleetpulse.stack import tools
from fleetpulse.stack.relocate import COMPILED_IN, relocate

CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
TEMPLATES = Path("usr/share/prometheus/alertmanager")


def unpacked(root: Path, content: bytes) -> Path:
    program = root / "usr/bin/prometheus-alertmanager"
    program.parent.mkdir(parents=True)
    program.write_bytes(content)
    program.chmod(0o755)
    (root / TEMPLATES).mkdir(parents=True)
    (root / TEMPLATES / "default.tmpl").write_text("a template")
    return program


def test_a_relocated_program_reads_from_the_folder_it_is_in_even_after_a_move(tmp_path: Path) -> None:
    script = b'#!/bin/sh\ncat "' + COMPILED_IN + b'/default.tmpl"\necho " $@"\n'
    relocate(unpacked(tmp_path / "new", script).parents[2])
    (tmp_path / "new").rename(tmp_path / "tools")
    program = tmp_path / "tools/usr/bin/prometheus-alertmanager"
    said = subprocess.run([program, "--version", "two words"], capture_output=True, text=True, check=True)
    assert said.stdout == "a template --version two words\n"


def test_a_program_without_the_path_is_left_alone(tmp_path: Path) -> None:
    program = unpacked(tmp_path, b"#!/bin/sh\necho as it was\n")
    relocate(tmp_path)
    assert program.read_bytes() == b"#!/bin/sh\necho as it was\n"
    assert not (tmp_path / "usr/lib").exists()
    relocate(tmp_path / "empty")


def start(folder: Path, program: Path) -> Program:
    (folder / "alertmanager.yml").write_text(CONFIG)
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        str(program),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    return Program(
        "Alertmanager", command, f"{url}/-/ready", folder / "alertmanager.log", {"PATH": "/usr/bin:/bin"}
    )


def test_debians_alertmanager_starts_with_its_own_templates(tmp_path: Path) -> None:
    """With the real packages, where they can be had; a broken template shows that these are the ones it reads."""
    folder = tmp_path / "tools"
    try:
        tools.fetch(folder)
    except ConfigError as error:
        pytest.skip(f"the packages cannot be had here: {error}")
    program = start(tmp_path, folder / "usr/bin/prometheus-alertmanager")
    try:
        program.start()
        assert program.terminate() == 0
        (folder / TEMPLATES / "default.tmpl").write_text("{{ nonsense")
        program.start(wait=False)
        wait_for(lambda: program.process.poll() is not None, what="Alertmanager refusing its template")
        assert "failed to parse templates" in program.output()
    finally:
        program.stop()
