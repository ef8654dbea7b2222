"""Looks whether the stack's ports are free, and says who holds one and which setting changes it."""

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

SEARCH = 200


@dataclass(frozen=True)
class Port:
    """A port that a service will listen on, and the setting that rules it (as in fleetpulse.yaml)."""

    service: str
    host: str
    number: int
    setting: str

    @property
    def variable(self) -> str:
        """The environment variable of that setting."""
        return "FLEETPULSE_" + self.setting.replace(".", "__").upper()


def problems(ports: Iterable[Port]) -> list[str]:
    """One message per port that cannot be had: held by another program, or given to two services."""
    found, given = [], dict[int, Port]()
    for port in ports:
        if (other := given.get(port.number)) is not None:
            found.append(f"{port.service} and {other.service} are both given port {port.number}. {_advice(port)}")
        elif (why := refusal(port.host, port.number)) is not None:
            found.append(f"{port.service} cannot have port {port.number}: {why}. {_advice(port)}")
        given[port.number] = port
    return found


def refusal(host: str, number: int) -> str | None:
    """Why nobody can listen there now; None when one can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            # As servers do: a connection that lingers from an earlier run does not hold the port.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        return f"it is taken by {owner(number)}" if error.errno == errno.EADDRINUSE else f"{host}: {error.strerror}"
    return None


def owner(number: int) -> str:
    """The program that listens on a port, as far as this user may know."""
    try:
        listening = psutil.net_connections("inet")
    except (psutil.Error, OSError):
        listening = []
    for one in listening:
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == number and one.pid:
            return _name(one.pid)
    return "another program (of another user, so its name cannot be told)"


def free_port(host: str, after: int = 0) -> int:
    """A free port: the next one after `after`, or any."""
    for number in range(after + 1, min(after + SEARCH, 65_536)) if after else ():
        if refusal(host, number) is None:
            return number
    with socket.socket() as trial:
        trial.bind((host, 0))
        return int(trial.getsockname()[1])


def _name(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"


def _advice(port: Port) -> str:
    return (
        f"Stop that program, or choose another port: {port.variable}={free_port(port.host, port.number)} "
        f"(or {port.setting} in fleetpulse.yaml)"
    )
