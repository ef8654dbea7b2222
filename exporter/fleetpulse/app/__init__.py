"""The exporter as a whole: its parts are wired here, started and stopped. Nothing else is decided here."""

from fleetpulse.app.life import run, serve, shut_down, start
from fleetpulse.app.parts import Parts, build

__all__ = ["Parts", "build", "run", "serve", "shut_down", "start"]
