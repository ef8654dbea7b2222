"""What is to become of a delivery now: made, made without a sound, held until later, or left out."""

from typing import NamedTuple

from fleetpulse.config import Settings
from fleetpulse.journal.notices import Target
from fleetpulse.notices.allowance import Allowance
from fleetpulse.notices.audience import USER
from fleetpulse.notices.hours import quiet_until
from fleetpulse.notices.model import DIGEST_KIND, Channel, Level
from fleetpulse.notices.preferences import DEFAULT, PreferenceBook

RATE = "rate limit"
QUIET = "quiet hours"


class Step(NamedTuple):
    """`pending`: to be made now, silently where it is `quiet`; `held` until a time; `suppressed`; and why."""

    outcome: str
    detail: str = ""
    until: float | None = None
    quiet: bool = False


class Planner:
    """Judges deliveries by preferences, then quiet hours, then what was told lately."""

    def __init__(self, settings: Settings, book: PreferenceBook) -> None:
        own = settings.notifications
        self._zone = settings.timezone
        self._hours = (*settings.alerting.quiet_hours, *own.quiet_hours)
        self._book = book
        self._allowance = Allowance(own.rate_limit, own.rate_seconds)

    def step(  # noqa: PLR0913 - what is judged
        self,
        target: Target,
        channel: Channel,
        level: Level,
        kind: str,
        now: float,
        *,
        limited: bool = True,
        dry_run: bool = False,
    ) -> Step:
        """What is to be done at `now` (Unix seconds). With `limited` it counts, but in a dry run."""
        preferences = self._book.of(target.recipient) if target.audience == USER else DEFAULT
        refusal = preferences.refusal(channel, level, kind) if kind != DIGEST_KIND else None
        if refusal is not None:
            return Step("suppressed", refusal)
        quiet = self.quiet(target, level, now)
        if quiet is not None and channel is not Channel.WEBSOCKET:
            return self._later(level, quiet)
        limited = limited and kind != DIGEST_KIND
        end = self._full(target, channel, level, now, count=not dry_run) if limited else None
        if end is not None:
            return Step("held", RATE, end)
        return Step("pending", quiet=quiet is not None)

    def quiet(self, target: Target, level: Level, now: float) -> float | None:
        """When the quiet hours end that hold for a target now, if any do; what is urgent knows none."""
        if level is Level.URGENT:
            return None
        own = self._book.of(target.recipient).quiet_hours if target.audience == USER else ()
        hours = (*self._hours, *own)
        return quiet_until(hours, self._zone, now) if hours else None

    def _later(self, level: Level, until: float) -> Step:
        """What only informs is old by then."""
        return Step("suppressed", QUIET) if level.rank <= Level.SUCCESS.rank else Step("held", QUIET, until)

    def _full(self, target: Target, channel: Channel, level: Level, now: float, *, count: bool) -> float | None:
        key = (target, channel, level is Level.URGENT)  # a flood of others does not hold up what is urgent
        return self._allowance.take(key, now) if count else self._allowance.full_until(key, now)
