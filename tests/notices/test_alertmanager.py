"""Over e-mail, SMS and push: a real Alertmanager gets each notification once, whatever was down meanwhile."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.notices.conftest import Serve
from tests.notices.stand import MORNING, NIGHT, QUIET, NoticeStand, outcomes
from tests.reports.sink import Sink
from tests.stack.alerting.places import Places, places
from tests.stack.alerting.samples import rendered
from tests.system.harness import free_port
from tests.tools import need_tool, running, until
from tests.web.live_stand import until as eventually

from fleetpulse.notices import Preferences
from fleetpulse.notices.outbox import LEASE_SECONDS
from fleetpulse.stack.alerting.document import Place
from fleetpulse.stack.alerting.versions import version_of

MAIL, SMS, PUSH = ("u1", "EMAIL"), ("u1", "SMS"), ("u1", "PUSH")
OTHERS = {"channels": ["EMAIL", "SMS", "PUSH"], "level": "ERROR"}
NIGHTS = {"notifications": {"quiet_hours": [QUIET]}}


class Real:
    """A real Alertmanager that may be stopped and started again on its port, and what it tells."""

    def __init__(self, config: Path, folder: Path, made: Places, mails: Sink) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.made = made
        self.mails = mails
        self._flags = (
            f"--config.file={config}",
            f"--storage.path={folder / 'data'}",
            "--cluster.listen-address=",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        )
        self._log = folder / "alertmanager.log"
        self._life = AsyncExitStack()

    async def start(self) -> None:
        await self._life.enter_async_context(running("alertmanager", *self._flags, log=self._log))
        await until(lambda: "Listening on" in self._log.read_text(), self._log)

    async def stop(self) -> None:
        await self._life.aclose()

    async def happens(self, condition: Any) -> Any:
        return await until(condition, self._log)

    def pushed(self) -> list[dict[str, Any]]:
        """Each alert that the push receiver got: its labels and annotations."""
        return [alert for each in self.made.to("/hook") for alert in each.body["alerts"]]

    def titles(self) -> list[str]:
        return [alert["annotations"]["summary"] for alert in self.pushed()]


@asynccontextmanager
async def alertmanager(folder: Path) -> AsyncIterator[Real]:
    """With the configuration that Fleetpulse renders: everyone's e-mail, SMS and push, and u2's own push."""
    version = version_of(need_tool("alertmanager"))
    with Sink() as mails:
        async with places() as (made, address):
            mail = {"to": ["ops@example.com"], "sender": "fleetpulse@example.com", "smtp_host": "127.0.0.1"}
            sns = {"region": "eu-central-1", "access_key": "AKIA", "secret_key": "s", "api_url": f"{address}/sns"}
            config = rendered(
                folder / "etc",
                str(version),
                Place(exporter_url=address),
                email=[{"name": "all", "smtp_port": mails.port, "smtp_security": "none"} | mail],
                sns=[{"name": "all", "phones": ["+4915112345678"]} | sns],
                webhook=[{"name": "all", "url": f"{address}/hook"}, {"name": "own", "url": f"{address}/own"}],
                users=[{"user_id": "u2", "receivers": ["own"]}],
            )
            real = Real(config, folder, made, mails)
            try:
                yield real
            finally:
                await real.stop()


async def settled(stand: NoticeStand) -> None:
    await eventually(lambda: stand.waiting == 0)


async def test_each_channel_gets_what_was_sent(serve: Serve, tmp_path: Path) -> None:
    async with alertmanager(tmp_path) as real:
        await real.start()
        stand = await serve(real.url)
        made = await stand.send(
            title="Device 客服 is blocked",
            message="Look at it, please.",
            level="URGENT",
            kind="device_status",
            action_url="https://example.com/d/1",
            recipients={"users": ["u1", "u2"]},
            channels=["EMAIL", "SMS", "PUSH"],
        )
        assert set(outcomes(made).values()) == {"sent"}
        await real.happens(lambda: real.pushed() and real.made.to("/own") and real.mails.received)
        await real.happens(lambda: real.made.to("/sns"))
        (push,) = real.pushed()
        assert push["labels"] == {
            "alertname": "Notification",
            "severity": "critical",
            "level": "URGENT",
            "channel": "push",
            "kind": "device_status",
            "user_id": "u1",
            "notification_id": made.notification_id,
        }
        assert push["annotations"] == {
            "summary": "Device 客服 is blocked",
            "description": "Look at it, please.",
            "action_url": "https://example.com/d/1",
        }
        assert {alert["labels"]["user_id"] for each in real.made.to("/own") for alert in each.body["alerts"]} == {
            "u2"
        }
        assert "Device 客服 is blocked" in real.mails.received[0].message["Subject"]
        assert stand.counted("push", "urgent", "sent") == 2
        assert real.made.to("/api/v1/alerts/webhook") == []


async def test_two_of_a_kind_are_two_messages(serve: Serve, tmp_path: Path) -> None:
    """Alertmanager takes alerts of the same labels for one."""
    async with alertmanager(tmp_path) as real:
        await real.start()
        stand = await serve(real.url)
        for n in range(3):
            await stand.send(title=f"n{n}", channels=["PUSH"])
        await real.happens(lambda: sorted(real.titles()) == ["n0", "n1", "n2"])


async def test_what_is_down_is_told_once_when_it_is_up(serve: Serve, tmp_path: Path) -> None:
    async with alertmanager(tmp_path) as real:
        stand = await serve(real.url)
        made = [await stand.send(title=f"n{n}", **OTHERS) for n in range(3)]
        for each in made:
            assert outcomes(each) == {MAIL: "failed", SMS: "failed", PUSH: "failed"}
            assert all(one.retry_at and "Alertmanager" in one.detail for one in each.outcomes)
        assert stand.waiting == 9
        await stand.restart()
        assert stand.waiting == 9
        await real.start()
        await settled(stand)
        await real.happens(lambda: len(real.titles()) == 3 == len(real.mails.received))
        late = await stand.send(title="late", **OTHERS)
        assert set(outcomes(late).values()) == {"sent"}
        await real.happens(lambda: "late" in real.titles() and len(real.mails.received) == 4)
        assert sorted(real.titles()) == ["late", "n0", "n1", "n2"]
        assert all(set(stand.became(each.notification_id).values()) == {"sent"} for each in made)
        assert stand.counted("email", "error", "failed") == 3
        assert stand.counted("email", "error", "sent") == 4


async def test_alertmanager_restarts_and_tells_nobody_again(serve: Serve, tmp_path: Path) -> None:
    async with alertmanager(tmp_path) as real:
        await real.start()
        stand = await serve(real.url)
        await stand.send(title="before", channels=["PUSH"])
        await real.happens(lambda: real.titles() == ["before"])
        await real.stop()
        assert outcomes(await stand.send(title="between", channels=["PUSH"])) == {PUSH: "failed"}
        await real.start()
        await settled(stand)
        await real.happens(lambda: real.titles() == ["before", "between"])


async def test_after_long_enough_it_is_given_up(serve: Serve) -> None:
    stand = await serve(notifications={"give_up_seconds": 1})
    made = await stand.send(channels=["PUSH"])
    await settled(stand)
    assert stand.became(made.notification_id) == {PUSH: "given_up"}
    assert stand.counted("push", "info", "failed") == stand.counted("push", "info", "given_up") == 1


async def test_at_night_only_what_is_urgent_is_heard(serve: Serve, tmp_path: Path) -> None:
    async with alertmanager(tmp_path) as real:
        await real.start()
        stand = await serve(real.url, **NIGHTS)
        stand.moment.set(NIGHT)
        both = {"channels": ["WEBSOCKET", "PUSH"]}
        async with stand.there("u1") as person:
            made = await stand.send(title="warn", level="WARNING", **both)
            assert outcomes(made) == {("u1", "WEBSOCKET"): "delivered", PUSH: "held"}
            assert made.outcomes[1].retry_at == pytest.approx(MORNING.timestamp() - 3_600, abs=1)
            assert (await person.hear("notification"))["notification"]["quiet"] is True
            assert outcomes(await stand.send(title="info", level="INFO", **both))[PUSH] == "suppressed"
            assert outcomes(await stand.send(title="fire", level="URGENT", **both))[PUSH] == "sent"
            assert "quiet" in (await person.hear("notification"))["notification"]
            assert "quiet" not in (await person.hear("notification"))["notification"]
        await real.happens(lambda: real.titles() == ["fire"])
        await stand.restart()
        stand.notices.nudge()
        assert stand.waiting == 1
        stand.moment.set(MORNING)
        stand.notices.nudge()
        await settled(stand)
        await real.happens(lambda: real.titles() == ["fire", "warn"])


async def test_a_users_own_nights(serve: Serve) -> None:
    stand = await serve()
    stand.moment.set(NIGHT)
    own = Preferences.model_validate({"quiet_hours": [QUIET]})
    await stand.notices.book.put("u1", own, "u1")
    made = await stand.send(level="ERROR", recipients={"users": ["u1", "u2"]}, channels=["SMS"], dry_run=True)
    assert outcomes(made) == {SMS: "held", ("u2", "SMS"): "sent"}


async def test_whoever_dies_in_the_middle_tells_it_once(serve: Serve, tmp_path: Path) -> None:
    """The same alert handed over twice is one message: so a lease that runs out does no harm."""
    async with alertmanager(tmp_path) as real:
        await real.start()
        stand = await serve(real.url)
        made = await stand.send(title="once", channels=["PUSH"])
        await real.happens(lambda: real.titles() == ["once"])
        again = "UPDATE notification_outcomes SET outcome = 'pending', due_at = 0"
        await stand.write(again)
        await stand.restart()
        await settled(stand)
        assert stand.became(made.notification_id) == {PUSH: "sent"}
        await stand.send(title="mark", channels=["PUSH"])
        await real.happens(lambda: "mark" in real.titles())
        assert real.titles() == ["once", "mark"]
    assert stand.settings.notifications.alert_seconds > LEASE_SECONDS
