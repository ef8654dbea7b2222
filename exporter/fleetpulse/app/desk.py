"""The inquiry desk: what answers questions about what is stored, and sends reports of it."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from fleetpulse.app.core import Core
from fleetpulse.journal import MessageRow, RequestRow
from fleetpulse.query.alertmanager import Alertmanager
from fleetpulse.query.budget_lines import BudgetBook
from fleetpulse.query.filters import REQUEST_LOGS
from fleetpulse.query.indexer import Indexer, search_indexer
from fleetpulse.query.logs import Logs
from fleetpulse.query.messages import MESSAGE_LOG
from fleetpulse.query.promql import Prometheus
from fleetpulse.query.recordings import Recordings
from fleetpulse.query.reports import Reports
from fleetpulse.query.room import ReadingRoom
from fleetpulse.query.statistics import Statistics
from fleetpulse.reports.delivery import Deliveries
from fleetpulse.reports.mail import Mailer
from fleetpulse.repricing import Repricing
from fleetpulse.series.corrections import CorrectionFold
from fleetpulse.tap.replays import Replays


@dataclass(frozen=True)
class Desk:
    """The parts that answer."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    statistics: Statistics
    reports: Reports
    deliveries: Deliveries
    repricing: Repricing
    indexers: tuple[Indexer[RequestRow] | Indexer[MessageRow], ...]
    room: ReadingRoom
    logs: Logs[RequestRow]
    messages: Logs[MessageRow]
    replays: Replays


def make_desk(core: Core) -> Desk:
    """Makes them."""
    settings, journal, instruments = core.settings, core.journal, core.instruments
    prometheus = Prometheus(settings.prometheus_internal_url, settings.stack.prometheus_token_file)
    alertmanager = Alertmanager(settings.alertmanager_internal_url, settings.stack.alertmanager_token_file)
    statistics = Statistics(prometheus, ZoneInfo(settings.timezone))
    reports = Reports(statistics, journal, BudgetBook(core.budgets, core.store), statistics.zone)
    deliveries = Deliveries(reports, Mailer(settings.reports), journal, settings.reports, instruments)
    repricing = Repricing(journal, core.pricer, CorrectionFold(core.budgets))
    room = ReadingRoom(journal.path, settings.search, instruments)
    requests = messages = None
    if settings.search.index:
        requests = search_indexer(journal, settings.search_path, instruments, REQUEST_LOGS)
        messages = search_indexer(journal, settings.message_search_path, instruments, MESSAGE_LOG)
    return Desk(
        prometheus,
        alertmanager,
        statistics,
        reports,
        deliveries,
        repricing,
        tuple(each for each in (requests, messages) if each is not None),
        room,
        Logs(room, requests.shared if requests else None),
        Logs(room, messages.shared if messages else None),
        Replays(Recordings(room), core.hub, core.events.tell, settings.tap.replays, instruments),
    )
