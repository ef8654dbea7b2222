"""Alertmanager's whole configuration, rendered from Fleetpulse's settings.

Owns what the `alerting` settings become: receivers (`receivers`), routes (`routes`), times (`times`), which alert
keeps which other quiet (`inhibitions`), for one version of Alertmanager (`versions`), as one document (`document`)
that is written, checked and asked with amtool (`files`, `amtool`). Promises: the same settings give the same bytes;
secrets are in the file only, which its owner alone may read; what a version cannot do is said, and not left out
silently.
"""
