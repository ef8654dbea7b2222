import time

import psutil
import pytest

from fleetpulse.client import load
from fleetpulse.client.load import Measure, meter


def test_the_host_is_measured_as_others_measure_it() -> None:
    read = meter("host")
    psutil.cpu_percent()
    time.sleep(0.5)
    cpu, memory = read()
    assert abs(cpu - psutil.cpu_percent()) < 25
    assert abs(memory - psutil.virtual_memory().percent) < 5


def test_a_busy_process_is_seen() -> None:
    read = meter("process")
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    cpu, memory = read()
    assert 0 < cpu <= 100
    assert 0 < memory < 50


@pytest.mark.parametrize("measure", ["host", "process"])
def test_without_proc_psutil_measures(measure: Measure) -> None:
    sample = load._with_psutil(measure)  # noqa: SLF001 - the branch of other systems, which this one can run too
    before = sample()
    time.sleep(0.3)
    after = sample()
    assert after[1] > before[1]
    assert 0 < after[2] < 1


def test_what_cannot_be_measured_is_zero() -> None:
    def broken() -> load.Sample:
        raise OSError("no such file")

    assert load._safely(broken) == (0.0, 0.0, 0.0)  # noqa: SLF001 - as on a system without files of this kind
