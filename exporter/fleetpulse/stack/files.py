"""Where the stack's own files are: at the root of a checkout, or inside the installed package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fleetpulse.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent.parent
CHECKOUT = PACKAGE.parent.parent
SHIPPED = PACKAGE / "_stack"


@dataclass(frozen=True)
class StackFiles:
    """The folders `prometheus/`, `alertmanager/` and `grafana/` under `root`."""

    root: Path

    @classmethod
    def find(cls) -> Self:
        """A checkout's files win over the package's; raises ConfigError when there are neither."""
        for root in (CHECKOUT, SHIPPED):
            if (root / "prometheus" / "prometheus.yml").is_file():
                return cls(root)
        raise ConfigError(
            f"the stack's files (prometheus/prometheus.yml and others) are neither in {CHECKOUT} nor in {SHIPPED}; "
            "reinstall Fleetpulse, or run it from a checkout"
        )

    @property
    def prometheus(self) -> Path:
        """Prometheus' configuration, rules and targets."""
        return self.root / "prometheus"

    @property
    def alertmanager(self) -> Path:
        """Alertmanager's configuration and templates."""
        return self.root / "alertmanager"

    @property
    def grafana(self) -> Path:
        """Grafana's provisioning and dashboards."""
        return self.root / "grafana"


def tools_folder(data_dir: Path) -> Path:
    """Where programs are unpacked: `.tools` in a checkout, else in the data folder."""
    if (CHECKOUT / "pyproject.toml").is_file():
        return CHECKOUT / ".tools"
    return data_dir.resolve() / "tools"
