"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Lets Ctrl-C be what it is: a shell that starts pytest in the background has it ignored, by our programs too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
