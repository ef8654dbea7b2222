"""What the stack consists of: each service's command line, environment, health address and port setting."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetpulse.config import Settings
from fleetpulse.sender import connect_url
from fleetpulse.stack.children import Service
from fleetpulse.stack.files import StackFiles
from fleetpulse.stack.ports import Port
from fleetpulse.stack.render import Addresses, Rendered
from fleetpulse.stack.tools import Tools

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Plan:
    """Everything decided before anything is started; `data` is absolute, every port is known."""

    settings: Settings
    files: StackFiles
    tools: Tools
    data: Path

    @property
    def addresses(self) -> Addresses:
        """Where each part will answer on this machine."""
        stack = self.settings.stack
        return Addresses(
            connect_url(self.settings.host, self.settings.port),
            f"http://{LOOPBACK}:{stack.prometheus_port}",
            f"http://{LOOPBACK}:{stack.alertmanager_port}",
            f"http://{LOOPBACK}:{stack.grafana_port}",
        )

    @property
    def run_folder(self) -> Path:
        """What is rendered at every start."""
        return self.data / "run"

    @property
    def token_file(self) -> Path:
        """What Prometheus and Alertmanager show the exporter."""
        return self.run_folder / "exporter-token"

    def log(self, name: str) -> Path:
        """The log of one service."""
        return self.data / "logs" / f"{name}.log"

    def ports(self) -> list[Port]:
        """The ports that must be free."""
        stack = self.settings.stack
        ports = [
            Port("Exporter", self.settings.host, self.settings.port, "port"),
            Port("Alertmanager", LOOPBACK, stack.alertmanager_port, "stack.alertmanager_port"),
            Port("Prometheus", LOOPBACK, stack.prometheus_port, "stack.prometheus_port"),
        ]
        if self.tools.grafana:
            ports.append(Port("Grafana", LOOPBACK, stack.grafana_port, "stack.grafana_port"))
        return ports


def services(plan: Plan, rendered: Rendered) -> list[Service]:
    """The services in the order they are started; they are stopped in the opposite order."""
    made = [_exporter(plan), _alertmanager(plan, rendered), _prometheus(plan, rendered)]
    return [*made, _grafana(plan, plan.tools.grafana)] if plan.tools.grafana else made


def _exporter(plan: Plan) -> Service:
    chosen = {
        "FLEETPULSE_HOST": plan.settings.host,
        "FLEETPULSE_PORT": str(plan.settings.port),
        "FLEETPULSE_DATA_DIR": str(plan.data),
    }
    return Service(
        "Exporter",
        (sys.executable, "-m", "fleetpulse", "serve"),
        plan.addresses.exporter,
        "/-/ready",
        plan.log("exporter"),
        os.environ | chosen,
    )


def _alertmanager(plan: Plan, rendered: Rendered) -> Service:
    url = plan.addresses.alertmanager
    command = (
        str(plan.tools.alertmanager),
        f"--config.file={rendered.alertmanager}",
        f"--storage.path={plan.data / 'alertmanager'}",
        f"--web.listen-address={_netloc(url)}",
        f"--web.external-url={url}",
        "--cluster.listen-address=",  # one Alertmanager needs no gossip port
        "--data.retention=840h",  # a level of a month's budget is told once: for that long it must be remembered
    )
    return Service("Alertmanager", command, url, "/-/ready", plan.log("alertmanager"), os.environ)


def _prometheus(plan: Plan, rendered: Rendered) -> Service:
    url = plan.addresses.prometheus
    command = (
        str(plan.tools.prometheus),
        f"--config.file={rendered.prometheus}",
        f"--storage.tsdb.path={plan.data / 'prometheus'}",
        f"--storage.tsdb.retention.time={plan.settings.stack.prometheus_retention_days}d",
        "--enable-feature=exemplar-storage",
        f"--web.listen-address={_netloc(url)}",
        f"--web.external-url={url}",
        *_local_pages(plan.tools.prometheus),
    )
    return Service("Prometheus", command, url, "/-/ready", plan.log("prometheus"), os.environ)


def _grafana(plan: Plan, program: Path) -> Service:
    home = _grafana_home(program)
    own = {
        "GF_SERVER_HTTP_ADDR": LOOPBACK,
        "GF_SERVER_HTTP_PORT": str(plan.settings.stack.grafana_port),
        "GF_PATHS_DATA": str(plan.data / "grafana"),
        "GF_PATHS_LOGS": str(plan.data / "logs" / "grafana"),
        "GF_PATHS_PLUGINS": str(plan.data / "grafana" / "plugins"),
        "GF_PATHS_PROVISIONING": str(plan.files.grafana / "provisioning"),
        "GF_LOG_MODE": "console",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        # On loopback there is nobody to log in: dashboards open at once, changing things takes a login.
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        **_grafana_variables(plan),
    }
    command = (str(program), *(("server",) if program.name == "grafana" else ()), *home)
    url = plan.addresses.grafana
    return Service("Grafana", command, url, "/api/health", plan.log("grafana"), os.environ | own)


def _grafana_variables(plan: Plan) -> dict[str, str]:
    """What grafana/provisioning reads."""
    return {
        "FLEETPULSE_PROMETHEUS_URL": plan.addresses.prometheus,
        "FLEETPULSE_ALERTMANAGER_URL": plan.addresses.alertmanager,
        "FLEETPULSE_LOKI_URL": plan.settings.loki_url,
        "FLEETPULSE_DASHBOARDS": str(plan.files.grafana / "dashboards"),
    }


def _grafana_home(program: Path) -> tuple[str, ...]:
    """Grafana looks for its own files in the working folder unless told."""
    for home in (program.resolve().parent.parent, Path("/usr/share/grafana")):
        if (home / "conf" / "defaults.ini").is_file():
            return ("--homepath", str(home))
    return ()


def _local_pages(prometheus: Path) -> tuple[str, ...]:
    """Debian's Prometheus reads its web pages from /usr/share; when unpacked elsewhere it must be told where."""
    pages = prometheus.parent.parent / "share" / "prometheus" / "web"
    if prometheus.is_relative_to("/usr") or not pages.is_dir() or not _knows(prometheus, "--web.local-assets"):
        return ()
    return (f"--web.local-assets={pages}",)


def _knows(program: Path, flag: str) -> bool:
    ask: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    told = ask([str(program), "--help"], capture_output=True, timeout=30, check=False)
    return flag.encode() in told.stdout + told.stderr


def _netloc(url: str) -> str:
    return url.removeprefix("http://")
