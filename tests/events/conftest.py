from tests.cli.conftest import run

__all__ = ["run"]  # the fixture that calls the command line
