"""The tap: listens to WebSocket servers as a client, and records what they say."""
