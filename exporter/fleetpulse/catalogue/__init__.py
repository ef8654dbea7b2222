"""Every metric Fleetpulse exports: name, type, help, labels, buckets. Names stand in this package and nowhere else.

`docs/metrics.md` is generated from it, and a test fails when a rule or a dashboard names a metric that
is not here. Names carry the prefix `fleetpulse_`; units are base units (seconds, bytes, USD, ratios 0-1).

Durability: a DURABLE metric's value is kept in the journal, changed in the same transaction as the rows behind
it, and restored at start, so it never resets. The others count since the process started.
"""

from fleetpulse.catalogue.accounts import *
from fleetpulse.catalogue.agents import *
from fleetpulse.catalogue.budgets import *
from fleetpulse.catalogue.journal import *
from fleetpulse.catalogue.live import *
from fleetpulse.catalogue.metric import PREFIX as PREFIX
from fleetpulse.catalogue.metric import Kind as Kind
from fleetpulse.catalogue.metric import Metric as Metric
from fleetpulse.catalogue.notifications import *
from fleetpulse.catalogue.otlp import *
from fleetpulse.catalogue.requests import *
from fleetpulse.catalogue.service import *
from fleetpulse.catalogue.tap import *

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
