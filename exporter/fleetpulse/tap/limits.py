"""What is configured of streams and rules, as series for the alert rules to compare with."""

from fleetpulse import catalogue
from fleetpulse.config.tap import Tap
from fleetpulse.instruments import Instruments


def export_limits(tap: Tap, instruments: Instruments) -> None:
    """Sets the gauges. A limit of 0 is none, and has no series; nor has a rule that only counts."""
    for source in tap.streams:
        if source.enabled and source.silence_seconds:
            instruments.gauge(catalogue.TAP_SILENCE_LIMIT, source.name).set(source.silence_seconds)
        if source.enabled and source.flood_per_second:
            instruments.gauge(catalogue.TAP_FLOOD_LIMIT, source.name).set(source.flood_per_second)
    for rule in tap.rules:
        if rule.alert:
            instruments.gauge(catalogue.TAP_RULE, rule.name, rule.severity).set(1)
