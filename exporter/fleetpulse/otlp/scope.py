"""The instrumentation scope of the log records that Fleetpulse itself sends out (`sinks/otlp.py`).

The receiver ignores records of this scope: a collector that hands everything on to everyone may send ours back, and
each would be stored and sent again, for ever.
"""

SIGNALS_SCOPE = "fleetpulse.signals"
