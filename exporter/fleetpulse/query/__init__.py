"""Query: what is asked of Prometheus, Alertmanager and the journal. Reads only; text of queries lives here alone."""
