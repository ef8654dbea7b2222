"""Whose bytes wait in a client's buffer: a buffer has no labels, so they are shared out over its subscriptions.

In proportion to what each wrote of late: to everyone in step (`Audience.recent`, one addition a flush), and to this
client alone, by snapshots and replays (`Subscription.recent`). Both halve at each look. Of a client with one topic
that is exact; of others it is an estimate, and the shares always add up to what waits.
"""

from fleetpulse.live.client import Client

NO_TOPIC = "none"
FADING = 0.5  # what is left of `recent` after a look


def shares(client: Client) -> dict[str, float]:
    """Bytes that wait for a client by topic; under NO_TOPIC where it has none."""
    backlog = client.backlog
    subscriptions = client.subscriptions
    if not backlog:
        return {}
    if len(subscriptions) <= 1:
        return dict.fromkeys(subscriptions or (NO_TOPIC,), float(backlog))
    weights = {name: each.recent + each.audience.recent for name, each in subscriptions.items()}
    whole = sum(weights.values())
    if not whole:
        return dict.fromkeys(subscriptions, backlog / len(subscriptions))
    return {name: backlog * weight / whole for name, weight in weights.items()}


def fade(client: Client) -> None:
    """Lets the past count less; of a client for which something waits."""
    for subscription in client.subscriptions.values():
        subscription.recent *= FADING
