import os
import socket

from fleetpulse.stack.ports import Port, free_port, owner, problems, refusal

LOOPBACK = "127.0.0.1"


def test_a_free_port_is_no_problem() -> None:
    port = free_port(LOOPBACK)
    assert refusal(LOOPBACK, port) is None
    assert problems([Port("Exporter", LOOPBACK, port, "port")]) == []


def test_a_taken_port_names_service_owner_setting_and_a_free_one() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        number = server.getsockname()[1]
        [problem] = problems([Port("Prometheus", LOOPBACK, number, "stack.prometheus_port")])
        assert f"(process {os.getpid()})" in owner(number)
    assert problem.startswith(f"Prometheus cannot have port {number}: it is taken by ")
    assert f"(process {os.getpid()})" in problem
    assert "FLEETPULSE_STACK__PROMETHEUS_PORT=" in problem
    suggested = int(problem.split("FLEETPULSE_STACK__PROMETHEUS_PORT=")[1].split()[0])
    assert suggested != number
    assert "stack.prometheus_port in fleetpulse.yaml" in problem


def test_a_listener_on_all_addresses_takes_loopback_too() -> None:
    with socket.create_server(("", 0)) as server:
        assert refusal(LOOPBACK, server.getsockname()[1]) is not None


def test_a_connection_that_lingers_does_not_take_the_port() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps the port in TIME_WAIT
            client.recv(1)
    assert refusal(LOOPBACK, address[1]) is None


def test_one_port_for_two_services_is_a_problem() -> None:
    number = free_port(LOOPBACK)
    first = Port("Exporter", LOOPBACK, number, "port")
    second = Port("Grafana", LOOPBACK, number, "stack.grafana_port")
    [problem] = problems([first, second])
    assert f"Grafana and Exporter are both given port {number}" in problem


def test_an_address_of_another_machine_is_said_so() -> None:
    reason = refusal("192.0.2.1", 8001)
    assert reason is not None
    assert "192.0.2.1" in reason
