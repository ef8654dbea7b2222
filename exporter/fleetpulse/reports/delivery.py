"""Sends reports by e-mail: on schedule, and when somebody asks.

Promises: a scheduled report is sent at least once and, unless the process dies between the mail server's yes and
the journal's commit right after it, once. Which one was sent last is in the journal, so a restart neither forgets
one nor repeats it; what became due while the exporter was down is sent at the next start, if that is within a day.
A failed attempt is repeated with growing pauses; a report that is given up is counted and told, and the next one is
due all the same. What a new schedule finds due from before it was set is not sent.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from fleetpulse import catalogue, config
from fleetpulse.errors import FleetpulseError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.query.periods import Kind
from fleetpulse.query.report import Report
from fleetpulse.reports.layout import file_name, render, to_mail, view
from fleetpulse.reports.mail import Attachment, Mail, Mailer
from fleetpulse.reports.memory import Memory, Sent, keep, recall
from fleetpulse.reports.schedule import Schedule, schedules
from fleetpulse.reports.view import subject
from fleetpulse.reports.words import Lang

PAUSES = (30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 2_400.0, 3_600.0)  # between attempts: for two hours and more
LATE_SECONDS = 86_400.0
LOOK_SECONDS = 30.0  # clocks may be set, and machines sleep
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivered:
    """An e-mail that the mail server took, and the recipients that it refused."""

    report: Report
    recipients: int
    refused: tuple[str, ...]


class Maker(Protocol):
    """Who makes the reports."""

    @property
    def zone(self) -> ZoneInfo:
        """Whose midnight counts."""

    async def of(self, kind: Kind, day: date) -> Report:
        """The report of the day, week or month that holds a local day."""


class Deliveries:
    """The postman: `run` follows the schedules, `send` sends at once."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        reports: Maker,
        mailer: Mailer,
        journal: Journal,
        settings: config.Reports,
        instruments: Instruments,
        *,
        clock: Callable[[], float] = time.time,
        pauses: Sequence[float] = PAUSES,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._reports = reports
        self._mailer = mailer
        self._journal = journal
        self._schedules = tuple(schedules(settings, reports.zone))
        self._lang: Lang = settings.lang
        self._instruments = instruments
        self._clock = clock
        self._pauses = tuple(pauses)
        self._look_seconds = look_seconds
        self._memory = Memory()
        self._closed: dict[Kind, date] = {}  # given up until the next start
        self._one_at_a_time = asyncio.Lock()
        for schedule in self._schedules:
            for outcome in ("sent", "failed", "missed"):
                self._instruments.counter(catalogue.REPORT_MAILS, schedule.kind, outcome)

    async def run(self) -> None:
        """Follows the schedules until cancelled."""
        if not self._schedules:
            return
        self._memory = await asyncio.to_thread(recall, self._journal)
        for schedule in self._schedules:
            self._begin(schedule)
        await self._keep()
        await asyncio.gather(*(self._follow(schedule) for schedule in self._schedules))

    def require(self) -> None:
        """Raises InvalidInputError where e-mail is not set up."""
        self._mailer.require()

    async def send(self, report: Report) -> Delivered:
        """Sends a report now, to the configured recipients.

        One that is due counts as sent by this. Raises InvalidInputError where e-mail is not set up, OverloadedError
        while another one is being sent, and UpstreamError.
        """
        self.require()
        if self._one_at_a_time.locked():
            raise OverloadedError("another report is being sent; try again", retry_after=5)
        async with self._one_at_a_time:
            with self._counting_failure(report.report):
                delivered = await self._hand_over(report, secrets.token_hex(8))
        schedule = next((each for each in self._schedules if each.kind == report.report), None)
        if schedule is not None and report.source is None and self._answers(schedule, report):
            await self._settle(schedule)
        return delivered

    # On schedule --------------------------------------------------------------------------------------------------
    def _begin(self, schedule: Schedule) -> None:
        """Where nothing is remembered, it begins with what becomes due from now on."""
        known = self._memory.sent.setdefault(schedule.kind, Sent(self._period(schedule)))
        if known.at is not None:
            self._instruments.gauge(catalogue.REPORT_LAST_SUCCESS, schedule.kind).set(known.at)

    async def _follow(self, schedule: Schedule) -> None:
        while True:
            if self._is_open(schedule):
                await self._deliver(schedule)
            wait = schedule.following(self._now).timestamp() - self._clock()
            await asyncio.sleep(min(max(wait, 0.0), self._look_seconds))

    def _is_open(self, schedule: Schedule) -> bool:
        """Whether the last report that was due is to be sent yet."""
        due, period = schedule.latest(self._now), self._period(schedule)
        if self._memory.sent[schedule.kind].period >= period or self._closed.get(schedule.kind) == period:
            return False
        self._instruments.gauge(catalogue.REPORT_DUE, schedule.kind).set(due.timestamp())
        if self._clock() - due.timestamp() <= LATE_SECONDS:
            return True
        self._give_up(schedule, "was due more than a day ago, while the exporter was not running")
        return False

    async def _deliver(self, schedule: Schedule) -> None:
        """Tries until it is sent, there are no more pauses, or the next one is due."""
        period = self._period(schedule)
        for pause in (*self._pauses, None):
            if not self._is_open(schedule) or self._period(schedule) != period:
                return
            if await self._attempt(schedule, period):
                await self._settle(schedule)
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._give_up(schedule, f"could not be sent in {len(self._pauses) + 1} attempts")

    async def _attempt(self, schedule: Schedule, day: date) -> bool:
        name = f"fleetpulse.{schedule.kind}.{day}.{self._memory.installation}"
        try:
            async with self._one_at_a_time:
                if self._is_open(schedule):  # somebody may have sent it by hand meanwhile
                    with self._counting_failure(schedule.kind):
                        await self._hand_over(await self._reports.of(schedule.kind, day), name)
        except FleetpulseError as error:
            log.warning("the %s report of %s could not be sent: %s", schedule.kind, day, error.detail)
        except Exception:
            log.exception("the %s report of %s could not be sent", schedule.kind, day)
        else:
            return True
        return False

    def _give_up(self, schedule: Schedule, why: str) -> None:
        period = self._period(schedule)
        self._closed[schedule.kind] = period
        self._instruments.counter(catalogue.REPORT_MAILS, schedule.kind, "missed").inc()
        log.error("the %s report of %s %s: it is not sent", schedule.kind, period, why)

    async def _settle(self, schedule: Schedule) -> None:
        """Remembers that the last one that was due is sent."""
        now = self._clock()
        self._memory.sent[schedule.kind] = Sent(self._period(schedule), now)
        await self._keep()
        self._instruments.gauge(catalogue.REPORT_LAST_SUCCESS, schedule.kind).set(now)

    async def _keep(self) -> None:
        try:
            await keep(self._journal, self._memory)
        except Exception:  # a full disk, most likely; the next one that is sent tries again
            log.exception("which reports were sent is not kept, so a restart may send one again")

    # One e-mail ---------------------------------------------------------------------------------------------------
    async def _hand_over(self, report: Report, message_id: str) -> Delivered:
        """Sends one e-mail, and counts it."""
        mail = await asyncio.to_thread(_compose, report, self._lang, message_id)
        refused = await self._mailer.send(mail)
        self._instruments.counter(catalogue.REPORT_MAILS, report.report, "sent").inc()
        if refused:
            log.warning("the mail server refused %d of the recipients of a report", len(refused))
        log.info("the %s report of %s is sent", report.report, report.first_day)
        return Delivered(report, len(self._mailer.recipients) - len(refused), refused)

    @contextmanager
    def _counting_failure(self, kind: Kind) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._instruments.counter(catalogue.REPORT_MAILS, kind, "failed").inc()
            raise

    def _answers(self, schedule: Schedule, report: Report) -> bool:
        """Whether a report is the one that is due."""
        due = self._period(schedule)
        sent = self._memory.sent.get(schedule.kind)
        return report.complete and report.first_day == due and (sent is None or sent.period < due)

    def _period(self, schedule: Schedule) -> date:
        """The first day of what the last report that was due is of."""
        return schedule.period(schedule.latest(self._now)).first

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), self._reports.zone)


def _compose(report: Report, lang: Lang, message_id: str) -> Mail:
    name = file_name(report)
    page = Attachment(f"{name}.html", "html", render(report, "html", lang))
    figures = Attachment(f"{name}.csv", "csv", render(report, "csv", lang))
    return Mail(
        subject=subject(report, lang),
        text=render(report, "md", lang),
        html=to_mail(view(report, lang)),
        attachments=(page, figures),
        message_id=message_id,
        date=report.generated_at,
    )
