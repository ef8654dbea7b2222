"""All reading of configuration: built-in defaults, then `fleetpulse.yaml`, then `FLEETPULSE_*` variables.

The file is `$FLEETPULSE_CONFIG`, else `./fleetpulse.yaml` where it exists. A nested setting is reached from the
environment with two underscores: `FLEETPULSE_LIMITS__SOURCES=200`. Unknown settings are errors, so that a typing
mistake never passes silently. `docs/configuration.md` lists every setting; a test keeps it complete.
"""

from fleetpulse.config.alerting import Alerting
from fleetpulse.config.backup import Backup
from fleetpulse.config.chat import Chat
from fleetpulse.config.cluster import Cluster
from fleetpulse.config.environment import (
    CLIENT_VARIABLES,
    config_path,
    is_loopback,
    otel_variables,
    unknown_variables,
    use_file,
    use_tap,
)
from fleetpulse.config.legacy import Converted, convert
from fleetpulse.config.money import Budget, LocalPrice, ModelPrice, Price, Scope
from fleetpulse.config.notifications import Automatic, AutomaticKind, Member, Notifications
from fleetpulse.config.reports import Reports
from fleetpulse.config.sections import (
    Accounts,
    Agents,
    Auth,
    Journal,
    Limits,
    Live,
    OtlpIn,
    OtlpOut,
    Plugins,
    Search,
    Section,
    Stack,
    Thresholds,
)
from fleetpulse.config.settings import Settings, load, notes
from fleetpulse.config.tap import Rule, Source, Tap

__all__ = [
    "CLIENT_VARIABLES",
    "Accounts",
    "Agents",
    "Alerting",
    "Auth",
    "Automatic",
    "AutomaticKind",
    "Backup",
    "Budget",
    "Chat",
    "Cluster",
    "Converted",
    "Journal",
    "Limits",
    "Live",
    "LocalPrice",
    "Member",
    "ModelPrice",
    "Notifications",
    "OtlpIn",
    "OtlpOut",
    "Plugins",
    "Price",
    "Reports",
    "Rule",
    "Scope",
    "Search",
    "Section",
    "Settings",
    "Source",
    "Stack",
    "Tap",
    "Thresholds",
    "config_path",
    "convert",
    "is_loopback",
    "load",
    "notes",
    "otel_variables",
    "unknown_variables",
    "use_file",
    "use_tap",
]
