"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Lets SIGINT be what it is: a shell that starts pytest in the background has all that it starts ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
