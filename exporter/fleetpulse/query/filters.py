"""Request logs as they are searched: what of them, and which are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetpulse import catalogue
from fleetpulse.journal import REQUESTS, RequestRow
from fleetpulse.query.subject import Condition, Filter, IndexMetrics, Subject
from fleetpulse.query.text import of_json

SUCCESS = "success"
EQUAL = ("source", "status", "user_id", "model", "account_id", "session_id", "trace_id")
FAILED = "±"


@dataclass(frozen=True)
class RequestFilter(Filter[RequestRow]):
    """All that is given must hold; see `Filter`.

    `text` searches command, error, ids, source, model, provider and metadata; `equal` are columns of EQUAL with
    their values; `failed` is whether the status is another than `success`; `min_cost` in USD, `min_time` in s.
    """

    failed: bool | None = None
    min_cost: float | None = None
    min_time: float | None = None

    @property
    def subject(self) -> Subject[RequestRow]:
        """Request logs."""
        return REQUEST_LOGS

    def more_conditions(self) -> Iterator[Condition]:
        """Outcome, cost and duration."""
        if self.failed is not None:
            yield ("status != ?" if self.failed else "status = ?"), (SUCCESS,)
        if self.min_cost is not None:
            yield "cost >= ?", (self.min_cost,)
        if self.min_time is not None:
            yield "execution_time >= ?", (self.min_time,)

    def more_marks(self) -> Iterator[str]:
        """The outcome's."""
        if self.failed is not None:
            yield FAILED if self.failed else self.subject.mark("status", SUCCESS)


def fields(row: RequestRow) -> Sequence[str]:
    """The texts of a request that are searched."""
    found = (
        row.command,
        row.error,
        row.request_id,
        row.user_id,
        row.session_id,
        row.trace_id,
        row.source,
        row.model,
        row.provider,
        row.account_id,
    )
    texts = [text for text in found if text]
    return [*texts, of_json(row.metadata)] if row.metadata else texts


REQUEST_LOGS = Subject(
    REQUESTS,
    RequestRow,
    marks=dict(zip(EQUAL, "§¶¤¦©¬®", strict=True)),
    texts=fields,
    flags=lambda row: () if row.status == SUCCESS else (FAILED,),
    weight=lambda row: len(row.command) + len(row.metadata or ""),
    metrics=IndexMetrics(
        catalogue.SEARCH_INDEXED, catalogue.SEARCH_LAG, catalogue.SEARCH_SIZE, catalogue.SEARCH_REBUILDS
    ),
    columns=",".join(REQUESTS.columns),
)
