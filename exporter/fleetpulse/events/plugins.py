"""Plug-ins: packages with an entry point in the group `fleetpulse.plugins`.

An entry point names a callable, plain or async, that is called once at start with a `Plugin`. What it returns,
where it returns something, is called at stop. Only those that `plugins.enabled` names are imported at all.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fleetpulse import config
from fleetpulse.errors import ConfigError
from fleetpulse.events.events import Events
from fleetpulse.events.plugin import Plugin, Services

GROUP = "fleetpulse.plugins"
SETUP_SECONDS = 30.0
STOP_SECONDS = 5.0
Setup = Callable[[Plugin], Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Installed:
    """A plug-in that a package offers."""

    name: str
    package: str
    version: str
    entry_point: EntryPoint

    def load(self) -> Setup:
        """Imports it. Raises ConfigError that says what is wrong."""
        try:
            setup = self.entry_point.load()
        except Exception as error:
            raise ConfigError(f"the plug-in {self.name!r} cannot be imported: {_said(error)}") from error
        if not callable(setup):
            raise ConfigError(f"the plug-in {self.name!r}: {self.entry_point.value} cannot be called")
        return setup  # type: ignore[no-any-return]  # whatever a package names


def installed() -> list[Installed]:
    """Every plug-in there is, by name."""
    found = (
        Installed(
            point.name, point.dist.name if point.dist else "?", point.dist.version if point.dist else "?", point
        )
        for point in entry_points(group=GROUP)
    )
    return sorted(found, key=lambda each: (each.name, each.package))


def chosen(name: str, among: Iterable[Installed]) -> Installed:
    """The one plug-in of that name. Raises ConfigError where there is none, or more than one."""
    offered = list(among)
    named = [each for each in offered if each.name == name]
    if len(named) > 1:
        packages = ", ".join(each.package for each in named)
        raise ConfigError(
            f"plugins.enabled: {name!r} is in more than one package: {packages}; uninstall all but one"
        )
    if not named:
        names = ", ".join(sorted({each.name for each in offered})) or "none"
        raise ConfigError(f"plugins.enabled: no plug-in {name!r} is installed here; there are: {names}")
    return named[0]


class Plugins:
    """Starts the plug-ins that are enabled, and stops them."""

    def __init__(self, settings: config.Plugins, events: Events, services: Services) -> None:
        self._settings = settings
        self._events = events
        self._services = services
        self._started: list[tuple[Plugin, Any]] = []

    @property
    def names(self) -> Sequence[str]:
        """The plug-ins that run."""
        return [plugin.name for plugin, _ in self._started]

    async def start(self) -> None:
        """Imports and sets up each, in the configured order; call on the running loop.

        Raises ConfigError for the first that fails, unless such are to be left out.
        """
        there = installed() if self._settings.enabled else []
        for name in dict.fromkeys(self._settings.enabled):
            try:
                await self._start(chosen(name, there))
            except ConfigError as error:
                if self._settings.on_error == "stop":
                    raise
                log.error("%s; it is left out", error.detail)  # noqa: TRY400 - the detail says it all
                self._events.tell("system", "plugin_failed", subject=name, detail={"error": error.detail})

    async def stop(self) -> None:
        """Stops each, the last first; none may take longer than 5 seconds."""
        for plugin, close in reversed(self._started):
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    if callable(close):
                        await _awaited(close())
            except Exception:
                log.exception("the plug-in %s did not stop well", plugin.name)
            await plugin.end(STOP_SECONDS)
        self._started.clear()

    async def _start(self, found: Installed) -> None:
        setup = found.load()
        plugin = Plugin(found.name, self._settings.settings.get(found.name, {}), self._events, self._services)
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                close = await _awaited(setup(plugin))
        except Exception as error:
            await plugin.end(STOP_SECONDS)
            raise ConfigError(f"the plug-in {found.name!r} cannot be set up: {_said(error)}") from error
        self._started.append((plugin, close))
        log.info("the plug-in %s (%s %s) runs", found.name, found.package, found.version)


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
