"""`fleetpulse up`: everything that can be found wrong is found before anything is started."""

import asyncio

from rich.console import Console

from fleetpulse.auth import ensure_safe
from fleetpulse.config import Settings
from fleetpulse.errors import ConfigError
from fleetpulse.stack import ports
from fleetpulse.stack.access import StackToken
from fleetpulse.stack.alerting.amtool import Amtool
from fleetpulse.stack.alerting.document import Place, build
from fleetpulse.stack.alerting.files import write
from fleetpulse.stack.alerting.versions import OLDEST, version_of
from fleetpulse.stack.children import Service
from fleetpulse.stack.files import StackFiles, tools_folder
from fleetpulse.stack.launcher import Launcher
from fleetpulse.stack.render import Rendered, render
from fleetpulse.stack.screen import TerminalScreen
from fleetpulse.stack.services import Plan, services
from fleetpulse.stack.tools import ensure


def up(settings: Settings, console: Console) -> int:
    """Runs the stack until Ctrl-C; returns the exit code. Raises ConfigError before anything is started."""
    ensure_safe(settings)
    plan = make_plan(settings, console)
    if wrong := ports.problems(plan.ports()):
        raise ConfigError("\n".join(wrong))
    token = StackToken(plan.settings, plan.token_file)
    rendered = render(plan.files, plan.addresses, plan.run_folder, plan.token_file)
    token.refresh()
    if plan.settings.alerting.configured:
        render_alerting(plan, rendered, console)
    parts = services(plan, rendered)
    screen = TerminalScreen(console, parts, plan.settings)
    return asyncio.run(_launch(parts, screen, token))


def render_alerting(plan: Plan, rendered: Rendered, console: Console) -> None:
    """Alertmanager's configuration from the settings, over the one that comes along. Raises ConfigError."""
    version = version_of(plan.tools.alertmanager) or OLDEST
    place = Place(exporter_url=plan.addresses.exporter, exporter_token_file=plan.token_file)
    document = build(plan.settings, version, place)
    amtool = Amtool.find(tools_folder(plan.settings.data_dir))
    write(document, rendered.alertmanager, plan.files.alertmanager / "templates", amtool)
    for note in document.notes:
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False)


def make_plan(settings: Settings, console: Console) -> Plan:
    """Finds files and tools, fetching the tools where needed; port 0 becomes a free port."""
    if settings.port == 0:
        settings = settings.model_copy(update={"port": ports.free_port(settings.host)})
    files = StackFiles.find()
    tools = ensure(tools_folder(settings.data_dir), console.print)
    return Plan(settings, files, tools, settings.data_dir.resolve())


async def _launch(parts: list[Service], screen: TerminalScreen, token: StackToken) -> int:
    return await Launcher(parts, screen, token.refresh).run()
