"""The section about the chat service: its connections, its messages, and what waits for people who are away."""

from typing import Annotated, Literal

from pydantic import Field

from fleetpulse.config.sections import Positive, Section


class Chat(Section):
    """The chat service."""

    max_connections_per_user: Positive = Field(5, description="Open chat connections of one user.")
    at_limit: Literal["refuse", "close_oldest"] = Field(
        "refuse", description="Which one yields at that limit: the new connection (429), or the user's oldest."
    )
    max_sessions: Annotated[int, Field(gt=0, le=1_000)] = Field(
        40, description="Sessions that one connection may have joined."
    )
    history_messages: Annotated[int, Field(ge=0, le=500)] = Field(
        50, description="Last messages of a session that who joins it is sent."
    )
    messages_per_second: Annotated[float, Field(gt=0)] = Field(
        20.0, description="Messages a connection may send a second, on average; more are told to be too many."
    )
    flood_strikes: Positive = Field(
        50, description="Messages past that rate, one after the other, that close the connection."
    )
    mailbox_messages: Positive = Field(
        10_000, description="Messages that wait for one user who is away; past it, new ones are refused."
    )
    mailbox_total: Positive = Field(500_000, description="Messages that wait for all users together.")
    mailbox_days: Annotated[float, Field(gt=0)] = Field(
        7.0, description="What waits for longer is dropped, and counted."
    )
    typing_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        8.0, description="Who said that they type, and nothing since, types no more after this long."
    )
    stats_seconds: Annotated[float, Field(gt=0)] = Field(
        60.0, description="How often monitors are sent statistics."
    )
