"""The landing page beside a real Prometheus and a real Alertmanager."""

from tests.system.harness import Stack, get_json, wait_for

JSON = {"Accept": "application/json"}


def test_what_is_up_is_said_to_be(stack: Stack) -> None:
    def states() -> dict[str, str]:
        services = get_json(stack.exporter_url, JSON)["services"]
        return {service["name"]: service["state"] for service in services}

    wait_for(lambda: (states()["Prometheus"], states()["Alertmanager"]) == ("up", "up"))
    wait_for(lambda: get_json(stack.exporter_url, JSON)["figures"]["firing_alerts"] is not None)
