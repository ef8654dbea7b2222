"""A real Alertmanager with the project's configuration, and a stand-in for the exporter behind its webhook."""

import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.tools import ROOT, running, until

FOLDER = ROOT / "alertmanager"
NATIVE = FOLDER / "alertmanager.yml"
HOOK = "/api/v1/alerts/webhook"


def rendered(target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A changed copy of the configuration, beside its templates."""
    shutil.copytree(FOLDER, target, dirs_exist_ok=True)
    config = yaml.safe_load(NATIVE.read_text())
    change(config)
    path = target / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def webhook(config: dict[str, Any]) -> dict[str, Any]:
    (receiver,) = (each for each in config["receivers"] if each["name"] == "fleetpulse")
    (settings,) = receiver["webhook_configs"]
    assert isinstance(settings, dict)
    return settings


@dataclass
class Exporter:
    """Stands where the exporter's webhook is, and keeps what it is sent."""

    received: list[dict[str, Any]] = field(default_factory=list)
    spent: float = 0.0
    start: int = field(default_factory=lambda: int(time.time()) - 3_600)
    scrapes: int = 0

    async def show(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        labels = 'budget="daily",scope="total",target="",period="day"'
        lines = [
            f"fleetpulse_budget_limit_usd{{{labels}}} 10",
            f"fleetpulse_budget_spent_usd{{{labels}}} {self.spent}",
            f"fleetpulse_budget_period_start_timestamp_seconds{{{labels}}} {self.start}",
            f"fleetpulse_budget_period_end_timestamp_seconds{{{labels}}} {self.start + 86_400}",
        ]
        return web.Response(text="".join(f"{line}\n" for line in lines))

    async def take(self, request: web.Request) -> web.Response:
        self.received.append(await request.json())
        return web.Response()

    def told(self, receiver: str) -> list[tuple[str, list[dict[str, str]]]]:
        """Each message to a receiver: its status, and its alerts' labels."""
        messages = (each for each in self.received if each["receiver"] == receiver)
        return [(each["status"], [alert["labels"] for alert in each["alerts"]]) for each in messages]

    def changes(self) -> list[tuple[str, str]]:
        """Each alert received: its status and its name."""
        return [(alert["status"], alert["labels"]["alertname"]) for alert in self.alerts()]

    def labels(self) -> list[dict[str, str]]:
        """Each alert received: its labels."""
        return [alert["labels"] for alert in self.alerts()]

    def alerts(self) -> list[dict[str, Any]]:
        return [alert for each in self.received for alert in each["alerts"]]


@dataclass(frozen=True)
class Stack:
    """A real Alertmanager that posts to a stand-in for the exporter."""

    address: str
    exporter_address: str
    exporter: Exporter
    session: aiohttp.ClientSession
    log: Path

    async def post(self, *alerts: dict[str, str], resolved: bool = False) -> None:
        now = datetime.now(UTC)
        ends = now if resolved else now + timedelta(minutes=10)
        body = [{"labels": labels, "startsAt": now.isoformat(), "endsAt": ends.isoformat()} for labels in alerts]
        async with self.session.post(f"http://{self.address}/api/v2/alerts", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def get(self, path: str) -> Any:
        async with self.session.get(f"http://{self.address}{path}") as answer:
            return await answer.json()

    async def sees(self, *changes: tuple[str, str]) -> None:
        await until(lambda: set(changes) <= set(self.exporter.changes()), self.log)

    async def hears_of(self, labels: dict[str, str]) -> None:
        await until(lambda: labels in self.exporter.labels(), self.log)


@asynccontextmanager
async def stack(
    tmp_path: Path, change: Callable[[dict[str, Any]], None] = lambda _: None, *flags: str
) -> AsyncIterator[Stack]:
    exporter, log = Exporter(), tmp_path / "alertmanager.log"
    app = web.Application()
    app.router.add_post(HOOK, exporter.take)
    app.router.add_get("/metrics", exporter.show)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:

        def point_here(config: dict[str, Any]) -> None:
            webhook(config)["url"] = str(server.make_url(HOOK))
            change(config)

        config = rendered(tmp_path / "alertmanager", point_here)
        arguments = (f"--config.file={config}", f"--storage.path={tmp_path / 'data'}", "--cluster.listen-address=")
        async with running("alertmanager", *arguments, *flags, "--web.listen-address=127.0.0.1:0", log=log):
            address = await until(lambda: re.search(r"Listening on.*address=(\S+)", log.read_text()), log)
            yield Stack(address[1], server.make_url("").authority, exporter, session, log)


@asynccontextmanager
async def prometheus(tmp_path: Path, real: Stack) -> AsyncIterator[Path]:
    """A Prometheus with the project's configuration and rules, its targets written anew; gives its log."""
    folder, log = tmp_path / "prometheus", tmp_path / "prometheus.log"
    shutil.copytree(ROOT / "prometheus", folder)
    for name, address in (("fleetpulse", real.exporter_address), ("alertmanager", real.address)):
        (folder / "targets" / f"{name}.yml").write_text(yaml.safe_dump([{"targets": [address]}]))
    arguments = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}")
    async with running("prometheus", *arguments, "--web.listen-address=127.0.0.1:0", log=log):
        yield log
