"""What is configured is there to compare with, and only that."""

from fleetpulse.config.tap import Tap
from fleetpulse.instruments import Instruments
from fleetpulse.tap.limits import export_limits


def test_only_what_is_configured_has_series() -> None:
    instruments = Instruments()
    url = "ws://127.0.0.1:1"
    streams = [
        {"name": "both", "url": url, "silence_seconds": 60, "flood_per_second": 5},
        {"name": "neither", "url": url},
        {"name": "off", "url": url, "enabled": False, "silence_seconds": 60, "flood_per_second": 5},
    ]
    rules = [
        {"name": "loud", "keywords": ["重要"], "severity": "critical"},
        {"name": "quiet", "keywords": ["x"], "alert": False},
    ]
    export_limits(Tap.model_validate({"streams": streams, "rules": rules}), instruments)
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in instruments.registry.collect()
        for sample in family.samples
        if sample.name.startswith("fleetpulse_tap")
    }
    assert samples == {
        ("fleetpulse_tap_silence_limit_seconds", "both"): 60.0,
        ("fleetpulse_tap_flood_limit_messages_per_second", "both"): 5.0,
        ("fleetpulse_tap_rule_info", "critical", "loud"): 1.0,
    }
