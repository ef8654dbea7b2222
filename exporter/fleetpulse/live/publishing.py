"""Publishing: what is told goes into its topics' rings, and whoever has to flush them hears of it.

Families in memory number their own messages; journalled ones are told of rows that have their ids, this replica's
or others'.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from fleetpulse.errors import OverloadedError
from fleetpulse.live.delivery import Delivery
from fleetpulse.live.history import Stored
from fleetpulse.live.meters import Meters
from fleetpulse.live.topics import Family, Origin, Topic, Topics


class Publisher:
    """Writes to topics. `arm` has them flushed after so many seconds, `flush_seconds` where nothing waits."""

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        topics: Topics,
        meters: Meters,
        delivery: Delivery,
        arm: Callable[[float], None],
        flush_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._topics = topics
        self._meters = meters
        self._delivery = delivery
        self._arm = arm
        self._flush_seconds = flush_seconds
        self._clock = clock

    def publish_many(self, topic: str, items: Collection[tuple[str | None, Any]], *, kind: str = "event") -> None:
        """See `Hub.publish_many`."""
        if not items:
            return
        family = self._topics.family(topic)
        if family.history is not None:
            raise ValueError(f"{family.name!r} is journalled: publish its rows, with their ids")
        self._meters.family(family.name).published.inc(len(items))
        # Where every topic kept has listeners, one that cannot be opened has none: nobody misses it.
        with suppress(OverloadedError):
            self._append(self._topics.open(topic), items, kind, None)
        everything = self._topics.get(family.name) if topic != family.name else None
        if everything is not None:
            rest = topic.partition("/")[2]
            named = [(None if key is None else f"{rest}/{key}", data) for key, data in items]
            self._append(everything, named, kind, topic)

    def publish_numbered(self, topic: str, rows: Sequence[Stored]) -> None:
        """See `Hub.publish_numbered`."""
        family = self._topics.family(topic)
        if family.history is not None:
            raise ValueError(f"{family.name!r} is journalled: publish its rows to all of it")
        self._meters.family(family.name).published.inc(len(rows))
        with suppress(OverloadedError):
            found = self._topics.open(topic)
            found.append_rows(rows, found.epoch, at=self._clock(), keep=self._topics.keep)
            self._mark(found)

    def publish_rows(self, family: str, rows: Sequence[Stored], *, epoch: str | None = None) -> int:
        """See `Hub.publish_rows`."""
        declared, own = self._journalled(family)
        epoch = epoch or own
        if not rows:
            return 0
        if epoch not in declared.tops:
            self.follow(family, epoch, rows[0].offset - 1)
        top = declared.tops[epoch]
        new = rows if rows[0].offset > top else [row for row in rows if row.offset > top]
        if new:
            declared.tops[epoch] = new[-1].offset
            self._meters.family(family).published.inc(len(new))
            self._add_rows(family, new, epoch, foreign=epoch != own)
        return len(rows) - len(new)

    def follow(self, family: str, epoch: str, offset: int, *, old: int = 0) -> None:
        """See `Hub.follow`."""
        declared, _ = self._journalled(family)
        known = declared.tops.get(epoch)
        if known is not None and offset <= known:
            return
        declared.tops[epoch] = offset
        if known is None and old > offset:
            declared.old[epoch] = old
        for topic in self._topics.of(declared):
            stream = topic.origins.get(epoch)
            if stream is None:
                self._meet(topic, Origin(epoch, offset, declared.old.get(epoch, 0)))
            elif known is not None:
                topic.skip(stream, known + 1, offset, at=self._clock(), keep=self._topics.keep)
                self._mark(topic)

    def settle(self, family: str, epoch: str) -> None:
        """See `Hub.settle`."""
        declared, _ = self._journalled(family)
        old = declared.old.pop(epoch, 0)
        if not old:
            return
        declared.tops[epoch] = max(declared.tops[epoch], old)
        for topic in self._topics.of(declared):
            topic.settle(topic.origins[epoch], at=self._clock(), keep=self._topics.keep)
            self._mark(topic)

    def _append(self, topic: Topic, items: Iterable[tuple[str | None, Any]], kind: str, origin: str | None) -> None:
        topic.append(items, kind=kind, at=self._clock(), keep=self._topics.keep, origin=origin)
        self._mark(topic)

    def _mark(self, topic: Topic) -> None:
        if topic.audiences:
            self._delivery.mark(topic)
            self._arm(self._flush_seconds)

    def _journalled(self, name: str) -> tuple[Family, str]:
        family = self._topics.family(name)
        if family.history is None or family.name != name:
            raise ValueError(f"{name!r} is not a journalled family")
        return family, family.history.epoch

    def _add_rows(self, family: str, rows: Sequence[Stored], epoch: str, *, foreign: bool) -> None:
        """Adds rows to the topics in use. What is only here, other replicas' rows, opens its topics."""
        named: dict[str, Sequence[Stored]] = {family: rows}
        parts: dict[str, list[Stored]] = {}
        for row in rows:
            for name in row.topics:
                parts.setdefault(name, []).append(row)
        for name, chosen in (named | parts).items():
            topic = self._topics.get(name)
            if topic is None and foreign:
                with suppress(OverloadedError):
                    topic = self._open_before(name, epoch, chosen[0].offset - 1)
            if topic is not None:
                topic.append_rows(chosen, epoch, at=self._clock(), keep=self._topics.keep)
                self._mark(topic)

    def _open_before(self, name: str, epoch: str, offset: int) -> Topic:
        """Opens a topic for rows that its family counts already."""
        topic = self._topics.open(name)
        topic.origins[epoch] = Origin(epoch, offset, topic.family.old.get(epoch, 0))
        return topic

    def _meet(self, topic: Topic, origin: Origin) -> None:
        """Adds an origin: who was told less of it before gets a gap record, who was told more waits its turn."""
        topic.origins[origin.epoch] = origin
        for audience in topic.audiences.values():
            audience.forget_openings()
        if origin.old:
            self._begin_late(topic, origin)
        for subscription, claims in list(topic.claims.items()):
            claimed = claims.pop(origin.epoch, origin.offset)
            if claimed < origin.offset:
                gap = subscription.audience.gap(origin.epoch, claimed + 1, origin.offset)
                subscription.client.write(b"".join(gap))
                self._delivery.catching_up.told(subscription, origin.epoch, origin.offset)
            elif claimed > origin.offset:
                self._delivery.catching_up.hold(subscription, {origin.epoch: claimed})
        self._delivery.tell_origin(topic)

    def _begin_late(self, topic: Topic, origin: Origin) -> None:
        """Who names no position in a new origin is past its old rows, and is told so."""
        for subscription in self._delivery.listeners(topic):
            if origin.epoch not in topic.claims.get(subscription, ()):
                self._delivery.catching_up.hold(subscription, {origin.epoch: origin.old})
                self._delivery.tell_one(subscription)
        if self._delivery.waiting:
            self._arm(0.0)
