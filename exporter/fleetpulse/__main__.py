"""`python -m fleetpulse` is `fleetpulse`."""

from fleetpulse.cli import main

main()
