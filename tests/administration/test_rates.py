"""Rates of topics, by a clock of the test's own."""

from fleetpulse import config
from fleetpulse.administration import TopicRates
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, Hub


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_of_the_last_minute() -> None:
    clock = Clock()
    hub = Hub(config.Live(), Instruments(), timer=clock)
    hub.declare("news", EVENT)
    rates = TopicRates(hub, clock)
    for _ in range(24):  # two minutes: a message a second in the first, two in the second
        rates.sample()
        count = 5 if clock.now < 160.0 else 10
        hub.publish_many("news/a", [(None, number) for number in range(count)])
        clock.now += 5.0
    rates.sample()
    assert rates.published()["news/a"] == (120, 2.0)


def test_before_the_first_sample_rates_are_since_the_start() -> None:
    clock = Clock()
    hub = Hub(config.Live(), Instruments(), timer=clock)
    hub.declare("news", EVENT)
    rates = TopicRates(hub, clock)
    hub.publish("news", 1)
    clock.now += 10.0
    assert rates.published() == {"news": (1, 0.1)}


def test_a_topic_that_is_made_anew_counts_from_zero() -> None:
    clock = Clock()
    hub = Hub(config.Live(max_topics=1), Instruments(), timer=clock)
    hub.declare("news", EVENT)
    rates = TopicRates(hub, clock)
    hub.publish_many("news/a", [(None, 1)] * 9)
    rates.sample()
    hub.publish("news/b", 1)  # takes the place of the first
    hub.publish_many("news/a", [(None, 1)] * 3)
    clock.now += 1.0
    assert rates.published() == {"news/a": (3, 3.0)}
