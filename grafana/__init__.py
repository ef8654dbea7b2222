"""Grafana's files: provisioning, the rendered dashboards, and `builder`, the code they are rendered from."""
