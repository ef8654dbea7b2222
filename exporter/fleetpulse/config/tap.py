"""The section about the tap: the WebSocket servers that are listened to, and what to look for in what they say."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from fleetpulse.config.expressions import checked_json_path, regular_expression
from fleetpulse.config.sections import Positive, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=100)]
Preset = Literal["auto", "chat", "socket.io", "mattermost", "rocket.chat", "raw"]
Path_ = Annotated[str, Field(max_length=500), AfterValidator(checked_json_path)]
RESERVED = "chat"
MAIN = "main"
MAX_PATTERN = 500


def address(value: str) -> str:
    """A WebSocket address as it is, where it is one without credentials; raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("is not an address such as wss://chat.example.org/ws")
    if parts.username or parts.password:
        raise ValueError("holds credentials; give an Authorization header, best by header_files")
    return value


class Paths(Section):
    """Where in a JSON message things are: JSONPath (RFC 9535). The first that finds something counts."""

    kind: tuple[Path_, ...] = Field((), description="What sort of message it is.")
    user: tuple[Path_, ...] = Field((), description="Who sent it.")
    room: tuple[Path_, ...] = Field((), description="Where it was said: room, channel, session.")
    text: tuple[Path_, ...] = Field((), description="What it says.")
    time: tuple[Path_, ...] = Field(
        (), description="When, by the sender: RFC 3339, or Unix seconds or milliseconds."
    )


class Message(Section):
    """Something to send: a text, or a file's content. `${NAME}` in it is a value of the stream's `secrets`."""

    text: SecretStr | None = Field(None, description="What to send.")
    file: Path | None = Field(None, description="File with what to send, read each time.")
    binary: bool = Field(False, description="Send it as a binary message.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise ValueError("give either text or file")
        return self


class Regular(Message):
    """Something to send again and again."""

    every_seconds: Annotated[float, Field(ge=1)] = Field(30.0, description="How often.")


class Tls(Section):
    """How a wss server is trusted."""

    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's.")
    cert_file: Path | None = Field(None, description="Certificate to show.")
    key_file: Path | None = Field(None, description="Its key.")
    server_name: str | None = Field(None, description="Name to expect in the server's certificate.")
    verify: bool = Field(True, description="Off: whoever answers is believed. For tests only.")


class Reconnect(Section):
    """When to try again. A delay is random, up to a bound that doubles with each attempt in a row."""

    first_seconds: Annotated[float, Field(ge=0)] = Field(
        5.0,
        description="The first attempt waits a random time up to this, so that not all come at once.",
    )
    base_seconds: Seconds = Field(1.0, description="Bound of the first delay after a failure.")
    cap_seconds: Seconds = Field(60.0, description="Greatest bound.")
    max_attempts: Annotated[int, Field(ge=0)] = Field(
        0, description="Failures in a row after which it gives up; 0: never."
    )
    max_seconds: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Time without a connection after which it gives up; 0: never."
    )
    stable_seconds: Seconds = Field(
        30.0, description="A connection that lasted so long was good: delays begin anew."
    )


class Reply(Section):
    """What to answer by itself. Nothing is, unless this is set."""

    message: Message = Field(description="What to send to the server.")
    per_minute: Annotated[float, Field(gt=0, le=60)] = Field(
        6.0, description="At most so many, by stream and rule."
    )


class Rule(Section):
    """What to look for. A message matches by any keyword, the pattern, or one of the users; each hit is counted."""

    name: Name = Field(description="What it is called, in series, searches and alerts.")
    streams: tuple[Name, ...] = Field((), description="Which streams; none: all.")
    keywords: Words = Field((), description="Texts to find, as they are, in either case; Chinese too.")
    pattern: str | None = Field(
        None, max_length=MAX_PATTERN, description="Regular expression (RE2) to find in the text."
    )
    users: Words = Field((), description="Whoever is watched: each message of theirs matches.")
    severity: Literal["info", "warning", "critical"] = Field("warning", description="Of the alert.")
    alert: bool = Field(True, description="Whether somebody is told; else it is counted only.")
    reply: Reply | None = Field(None, description="What to answer by itself.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value:
            regular_expression(value)
        return value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.keywords or self.pattern or self.users):
            raise ValueError("looks for nothing: give keywords, a pattern or users")
        return self


class Source(Section):
    """One WebSocket server to listen to."""

    name: Name = Field(description="What the stream is called, in series, searches and topics.")
    url: str = Field(max_length=2_000, description="ws:// or wss://. Secrets belong in header_files or secrets.")
    enabled: bool = Field(True, description="Off: it is left alone, its rows stay.")
    headers: dict[str, SecretStr] = Field({}, description="Headers of the handshake.")
    header_files: dict[str, Path] = Field({}, description="Headers whose value a file holds, read at each connect.")
    secrets: dict[str, Path] = Field({}, description="Names and files of the values that messages may mention.")
    subprotocols: tuple[str, ...] = Field((), description="Sub-protocols to offer, the best first.")
    tls: Tls = Field(Tls(), description="How a wss server is trusted.")
    proxy: str | None = Field(None, description="HTTP proxy to go through: http://host:port.")
    compression: bool = Field(True, description="Offer permessage-deflate.")
    allow_private: bool = Field(False, description="Whether the address may be loopback, private or link-local.")
    on_connect: Annotated[tuple[Message, ...], Field(max_length=50)] = Field(
        (), description="Sent on connecting, in order."
    )
    regularly: Annotated[tuple[Regular, ...], Field(max_length=20)] = Field((), description="Sent again and again.")
    preset: Preset = Field("auto", description="Known shape of its messages; auto looks at each.")
    paths: Paths = Field(Paths(), description="Where things are in its messages; goes before the preset.")
    keep_raw: bool = Field(True, description="Keep each message as it came; without, it cannot be played again.")
    ping_seconds: Seconds = Field(20.0, description="A quiet connection is pinged after this long.")
    dead_seconds: Seconds = Field(
        60.0, description="No sign of life for this long: it is given up and opened anew."
    )
    connect_seconds: Seconds = Field(15.0, description="How long the handshake may take.")
    max_message_bytes: Annotated[int, Field(gt=0, le=64 * 2**20)] = Field(
        2**20, description="Largest message, decompressed; a larger one ends the connection and is told of."
    )
    queue_messages: Positive = Field(
        20_000, description="Messages that may wait to be stored; then reading pauses."
    )
    queue_bytes: Positive = Field(32 * 2**20, description="The same in bytes.")
    reconnect: Reconnect = Field(Reconnect(), description="When to try again.")
    silence_seconds: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Connected and no message for this long: an alert; 0: silence is no news."
    )
    flood_per_second: Annotated[float, Field(ge=0)] = Field(
        0.0, description="More messages a second than this, over a minute: an alert; 0: any rate is fine."
    )

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value == RESERVED:
            raise ValueError("is the stream of the exporter's own chat; choose another name")
        return value

    @field_validator("url")
    @classmethod
    def _is_websocket(cls, value: str) -> str:
        return address(value)


class Tap(Section):
    """Streams that are recorded, and what is looked for in them."""

    enabled: bool = Field(True, description="Off: no server is listened to; what is stored stays to be seen.")
    url: str | None = Field(
        None,
        max_length=2_000,
        description="A server to listen to, as stream `main`, in place of the address of that.",
    )
    allow_private: bool = Field(False, description="Whether `url` may be loopback, private or link-local.")
    streams: Annotated[tuple[Source, ...], Field(max_length=200)] = Field((), description="Servers to listen to.")
    rules: Annotated[tuple[Rule, ...], Field(max_length=100)] = Field((), description="What to look for.")
    top_users: Annotated[int, Field(ge=0, le=50)] = Field(
        10, description="Users named in series, by stream; 0: nobody."
    )
    active_seconds: Seconds = Field(300.0, description="Who said something within this time is active.")
    replays: Positive = Field(4, description="Recorded streams played again at once.")

    @field_validator("url")
    @classmethod
    def _is_websocket(cls, value: str | None) -> str | None:
        return None if value is None else address(value)

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        """`url` becomes a stream like the others, and with `enabled` off none of them is listened to."""
        streams = {each.name: each for each in self.streams}
        if self.url is not None and len(streams) == len(self.streams):
            found = streams.get(MAIN) or Source(name=MAIN, url=self.url, reconnect=Reconnect(first_seconds=0))
            private = self.allow_private or found.allow_private
            streams[MAIN] = found.model_copy(update={"url": self.url, "allow_private": private})
            object.__setattr__(self, "streams", tuple(streams.values()))  # frozen from here on
        if not self.enabled:
            off = tuple(each.model_copy(update={"enabled": False}) for each in self.streams)
            object.__setattr__(self, "streams", off)
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (
            ("streams", [each.name for each in self.streams]),
            ("rules", [each.name for each in self.rules]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} have one name")
        known = {each.name for each in self.streams}
        for rule in self.rules:
            if missing := set(rule.streams) - known:
                raise ValueError(f"rule {rule.name} names streams that are not there: {', '.join(sorted(missing))}")
        return self
