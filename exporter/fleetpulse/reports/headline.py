"""The report in a few sentences, for who reads nothing else."""

from fleetpulse.query.report import Report
from fleetpulse.reports.numbers import percent, usd, whole
from fleetpulse.reports.view import Words, when

LEADS_FROM = 0.3  # a source with less than this share of the cost does not lead
SAME_BELOW = 0.0005


def headline(report: Report, words: Words) -> str:
    """How much, how well, for how much, against before; then what stands out."""
    sentences = [_opening(report, words), _leader(report, words), _unpriced(report, words)]
    sentences += [_budgets(report, words), _alerts(report, words)]
    gap = " " if words.lang == "en" else ""
    return gap.join(filter(None, sentences))


def _opening(report: Report, words: Words) -> str:
    moment = when(report, words)
    if not report.complete:
        so_far = words("so_far", time=words.time(report.generated_at))
        moment = f"{moment} {so_far}" if words.lang == "en" else f"{moment}（{so_far}）"
    colon = ": " if words.lang == "en" else "："
    totals = report.totals
    if not totals.total_requests:
        return moment + colon + words("head.unrecorded" if report.covered.start is None else "head.none")
    said = [words.count("head.requests", totals.total_requests, requests=whole(totals.total_requests))]
    said.append(words("head.rate", rate=percent(totals.success_rate)))
    said.append(words("head.cost", cost=usd(totals.total_cost)) + _against(report, words))
    return f"{moment}{colon}{words('comma').join(said)}{words('stop')}"


def _against(report: Report, words: Words) -> str:
    """How the cost compares, where there is something to compare it with."""
    changes = report.previous.changes
    if changes is None or not (report.totals.total_cost or report.previous.totals.total_cost):
        return ""
    change = changes.total_cost
    before = words(f"before.{report.report}{'.partial' if report.previous.partial else ''}")
    if change.ratio is None:
        said = words("head.first", before=before)
    elif abs(change.ratio) < SAME_BELOW:
        said = words("head.same", before=before)
    else:
        name = "head.more" if change.ratio > 0 else "head.less"
        said = words(name, ratio=percent(abs(change.ratio)), before=before)
    return f"{words('comma')}{said}"


def _leader(report: Report, words: Words) -> str:
    cost = report.totals.total_cost
    if cost <= 0 or len(report.by_source) < 2:  # noqa: PLR2004 - one source is no leader
        return ""
    first = max(report.by_source, key=lambda group: group.total_cost)
    share = first.total_cost / cost
    return words("head.leader", name=first.name, share=percent(share)) if share >= LEADS_FROM else ""


def _unpriced(report: Report, words: Words) -> str:
    number = report.totals.unpriced_requests
    return words.count("head.unpriced", number, unpriced=whole(number)) if number else ""


def _budgets(report: Report, words: Words) -> str:
    spent = [budget.name for budget in report.budgets if budget.used >= 1]
    comma = "、" if words.lang == "zh" else ", "
    return words.count("head.budget.over", len(spent), names=comma.join(spent)) if spent else ""


def _alerts(report: Report, words: Words) -> str:
    number = report.alerts.total
    return words.count("head.alerts", number, alerts=whole(number)) if number else words("head.alerts.none")
