import stat
from pathlib import Path

import pytest
from rich.console import Console
from tests.stack.alerting.samples import EVERY_KIND, TEMPLATES, document, settings
from tests.tools import need_tool, run

from fleetpulse.errors import ConfigError
from fleetpulse.stack.alerting.amtool import Amtool
from fleetpulse.stack.alerting.document import Document
from fleetpulse.stack.alerting.files import write
from fleetpulse.stack.files import StackFiles
from fleetpulse.stack.render import render
from fleetpulse.stack.services import Plan
from fleetpulse.stack.tools import Tools
from fleetpulse.stack.up import render_alerting


def amtool() -> Amtool:
    return Amtool(need_tool("amtool"))


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "alertmanager.yml"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write(document(**EVERY_KIND), path, TEMPLATES, amtool())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == ["alertmanager.yml", "templates"]
    assert "SUCCESS" in run("amtool", "check-config", path)


def test_what_amtool_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text("old")
    made = document()
    broken = Document(made.content | {"route": {"receiver": "gone"}}, made.version, ())
    with pytest.raises(ConfigError, match='undefined receiver "gone"'):
        write(broken, path, TEMPLATES, amtool())
    assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["alertmanager.yml", "templates"]


def test_templates_may_be_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tmpl").write_text('{{ define "a" }}{{ end }}')
    write(document(), tmp_path / "alertmanager.yml", tmp_path / "templates", amtool())
    assert (tmp_path / "templates" / "a.tmpl").read_text()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"alertmanager\.yml cannot be written"):
        write(document(), tmp_path / "file" / "alertmanager.yml", TEMPLATES, None)


def test_a_link_left_in_the_way_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / ".alertmanager.yml.new").symlink_to(elsewhere)
    write(document(**EVERY_KIND), tmp_path / "alertmanager.yml", TEMPLATES, None)
    assert elsewhere.read_text() == "mine"


def test_up_gives_alertmanager_what_the_settings_say(tmp_path: Path) -> None:
    tools = Tools(need_tool("prometheus"), need_tool("alertmanager"), None)
    own = settings(**EVERY_KIND).model_copy(update={"data_dir": tmp_path, "port": 18001})
    plan = Plan(own, StackFiles.find(), tools, tmp_path)
    rendered = render(plan.files, plan.addresses, plan.run_folder, plan.token_file)
    plan.token_file.write_text("t")
    render_alerting(plan, rendered, Console(quiet=True))
    assert "SUCCESS" in run("amtool", "check-config", rendered.alertmanager)
    text = rendered.alertmanager.read_text("utf-8")
    assert "http://127.0.0.1:18001/api/v1/alerts/webhook" in text
    assert f"credentials_file: {plan.token_file}" in text
    assert "- name: pager\n" in text
    assert stat.S_IMODE(rendered.alertmanager.stat().st_mode) == 0o600
