"""The live client: an exporter's live feed (`/ws/live`) as an async iterator that repairs its own cuts.

    from fleetpulse.feed import Event, LiveFeed

    async with LiveFeed("http://127.0.0.1:8001") as feed:
        feed.subscribe("requests", filter={"status": "error"})
        async for message in feed:
            if isinstance(message, Event):
                print(message.data["request_id"])

Needs aiohttp (`pip install 'fleetpulse[feed]'`). docs/feed.md explains it.
"""

from fleetpulse.feed.backoff import Backoff
from fleetpulse.feed.feed import LiveFeed
from fleetpulse.feed.messages import (
    Event,
    Gap,
    Left,
    Message,
    Position,
    Snapshot,
    StateChange,
    Subscribed,
    TopicMessage,
    Update,
)
from fleetpulse.feed.positions import Positions, load_positions, save_positions
from fleetpulse.feed.tokens import Token

__all__ = [
    "Backoff",
    "Event",
    "Gap",
    "Left",
    "LiveFeed",
    "Message",
    "Position",
    "Positions",
    "Snapshot",
    "StateChange",
    "Subscribed",
    "Token",
    "TopicMessage",
    "Update",
    "load_positions",
    "save_positions",
]
