"""Everything that lives as long as the exporter."""

from dataclasses import dataclass
from typing import Protocol

from fleetpulse.app.administration import Administration, make_plugins
from fleetpulse.app.core import Core, make_core
from fleetpulse.app.desk import make_desk
from fleetpulse.app.door import Door
from fleetpulse.app.garbage import Garbage
from fleetpulse.app.notifications import Notifications
from fleetpulse.app.replicas import make_cluster
from fleetpulse.app.tap import Tap
from fleetpulse.app.watching import make_stats
from fleetpulse.cluster import Cluster
from fleetpulse.config import Settings, otel_variables
from fleetpulse.events import Plugins
from fleetpulse.journal import Retention
from fleetpulse.journal.backup import Backups
from fleetpulse.query.upstream import Upstream
from fleetpulse.sinks.outlets import Outlets


class Background(Protocol):
    """A part that works by itself."""

    async def run(self) -> None:
        """Works until cancelled."""


@dataclass(frozen=True)
class Parts:
    """What starting and stopping deals with; `background` runs until the exporter stops."""

    core: Core
    door: Door
    notifications: Notifications
    tap: Tap
    plugins: Plugins
    cluster: Cluster | None
    outlets: Outlets
    upstreams: tuple[Upstream, ...]
    background: tuple[Background, ...]


def build(settings: Settings) -> Parts:
    """Makes every part and restores what was kept. Blocks while the journal is checked."""
    core = make_core(settings)
    desk = make_desk(core)
    notifications = Notifications(core, desk)
    administration = Administration(core, notifications)
    outlets = Outlets(settings.otlp_out, otel_variables(), core.journal, core.instruments)
    door = Door(core, desk, notifications, administration, outlets)
    cluster = make_cluster(core)  # once every topic is declared
    administration.know(cluster)
    working: tuple[Background | None, ...] = (
        Retention(core.journal, settings.journal, core.instruments),
        Backups(core.journal, settings.backup, settings.backup_folder, core.instruments),
        core.ledger,
        core.chat,
        desk.deliveries,
        desk.repricing,
        *desk.indexers,
        desk.replays,
        door.requests,
        door.messages,
        notifications,
        administration,
        make_stats(core, cluster),
        Garbage(),
        cluster,
    )
    return Parts(
        core,
        door,
        notifications,
        Tap(core),
        make_plugins(core, notifications),
        cluster,
        outlets,
        upstreams=(desk.prometheus, desk.alertmanager),
        background=tuple(part for part in working if part is not None),
    )
