"""Fleetpulse: heartbeats, request logs and chat activity of bot fleets, as Prometheus series and a live feed."""

__version__ = "0.1.0"
