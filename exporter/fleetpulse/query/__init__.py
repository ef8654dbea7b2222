"""Query: what is asked of Prometheus, Alertmanager and the journal. It only reads; their queries' text is here."""
