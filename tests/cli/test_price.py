"""`fleetpulse price` against a real exporter."""

from tests.cli.conftest import Run
from tests.system.harness import Exporter, get_json, post


def report(exporter: Exporter, count: int, model: str = "our-llama") -> None:
    log = {"source": "web", "status": "success", "execution_time": 1, "model": model, "input_tokens": 1_000_000}
    post(f"{exporter.url}/api/log-request", [log | {"request_id": f"{model}-{n}"} for n in range(count)])


def test_a_price_is_tried_then_given(run: Run, exporter: Exporter) -> None:
    report(exporter, 3)
    command = ("price", "our-llama", "--input", "0.2", "--output", "0.6", "--url", exporter.url)
    said = run(*command, "--dry-run")
    assert (said.returncode, said.stderr) == (0, "")
    assert "3 requests would get a cost, 0.600000 USD in all" in said.stdout
    assert get_json(f"{exporter.url}/api/prices")["prices"] == []
    said = run(*command)
    assert "3 requests got a cost, 0.600000 USD in all" in said.stdout
    assert "our-llama" in said.stdout
    assert get_json(f"{exporter.url}/api/unpriced")["unpriced"] == []
    assert "0 requests got a cost" in run(*command).stdout


def test_without_a_price_those_in_force_are_used(run: Run, exporter: Exporter) -> None:
    report(exporter, 2)
    said = run("price", "--url", exporter.url)
    assert (said.returncode, said.stdout) == (0, "0 requests got a cost, 0.000000 USD in all\n")


def test_a_run_that_takes_long_is_waited_for(run: Run, exporter: Exporter) -> None:
    for part in range(4):
        report(exporter, 10_000, f"our-llama-{part}")
    said = run("price", "our-*", "--request", "0.001", "--url", exporter.url)
    assert (said.returncode, said.stderr) == (0, "")
    assert "40,000 requests got a cost, 40.000000 USD in all" in said.stdout


def test_what_cannot_be_is_explained(run: Run, exporter: Exporter) -> None:
    for arguments, words in (
        (("--input", "1"), "a price needs the model"),
        (("m", "--input", "-1"), "--input"),
        (("m", "--cached", "1"), "a price needs input_usd_per_million"),
    ):
        said = run("price", *arguments, "--url", exporter.url)
        assert said.returncode == 2
        assert words in said.stderr
        assert "Traceback" not in said.stderr
