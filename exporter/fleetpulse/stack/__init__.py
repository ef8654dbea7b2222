"""The native stack: exporter, Prometheus, Alertmanager and Grafana on one machine, without root or Docker.

Owns the child processes of `fleetpulse up`: finding or fetching their programs (`tools`), rendering their
configuration (`render`), starting, watching and stopping them (`children`, `launcher`). Promises: nothing is
installed system-wide, nothing is left running, nothing is written outside the data folder and the tools folder.
"""
