"""Prometheus' HTTP API: instant and range queries."""


class Prometheus:
    """One Prometheus server."""
