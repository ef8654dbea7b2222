"""What is taken from content: the last thing a user said, bounded, and the model where it stands nowhere else."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from fleetpulse.otlp.plain import Attributes, Event

MAX_SAID = 1_000  # characters of it that are kept
MAX_PARSED = 2**20  # characters of JSON that are looked into
# Messages spread over attributes: OpenLLMetry and OpenInference number them.
INDEXED = re.compile(
    r"(?:gen_ai\.prompt|llm\.input_messages)\.(?P<at>[0-9]{1,6})\.(?:message\.)?"
    r"(?P<what>role|content|contents\.[0-9]{1,6}\.message_content\.text)"
)
USER = ("user", "human")
WHOLE = ("gen_ai.input.messages", "gen_ai.prompt", "ai.prompt.messages", "ai.prompt")
PARAMETERS = ("llm.invocation_parameters", "embedding.invocation_parameters")
SINGLE = ("embedding.embeddings.0.embedding.text", "input.value")
USER_EVENTS = {"gen_ai.user.message": "content", "gen_ai.content.prompt": "gen_ai.prompt"}


def last_said(content: Attributes, events: Sequence[Event]) -> str:
    """What the user said last, at most MAX_SAID characters; empty where nothing was captured."""
    for said in _candidates(content, events):
        if said:
            return said[:MAX_SAID].strip()
    return ""


def _candidates(content: Attributes, events: Sequence[Event]) -> Iterator[str]:
    for name in WHOLE:
        if name in content:
            yield _of_messages(content[name])
    yield _of_indexed(content)
    for event in reversed(events):
        if event.name in USER_EVENTS:
            yield _of_messages(event.attributes.get(USER_EVENTS[event.name]))
    for name in SINGLE:
        if isinstance(content.get(name), str):
            yield _of_messages(content[name])


def _of_messages(value: Any) -> str:
    """The last user's message in a list of messages, which may be JSON; a text that is none is the message."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{"):
            return value
        value = parsed(value)
    if isinstance(value, dict):
        value = value.get("messages") or value.get("prompt") or value.get("input") or [value]
    if isinstance(value, str):
        return value
    messages = value if isinstance(value, list) else []
    return next((_of_message(each) for each in reversed(messages) if _is_users(each)), "")


def _is_users(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role", "user") in USER


def _of_message(message: dict[str, Any]) -> str:
    """The texts of a message, whose content is a text or a list of parts."""
    content = message.get("parts") or message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("content") or part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _of_indexed(content: Attributes) -> str:
    roles: dict[int, str] = {}
    texts: dict[int, list[str]] = {}
    for name, value in content.items():
        found = INDEXED.fullmatch(name)
        if found is None or not isinstance(value, str):
            continue
        if found["what"] == "role":
            roles[int(found["at"])] = value
        else:
            texts.setdefault(int(found["at"]), []).append(value)
    users = [at for at in texts if roles.get(at) in USER]
    return "\n".join(texts[max(users)]) if users else ""


def model_asked(content: Attributes) -> str | None:
    """The model in the parameters of a call: of one that failed, OpenInference tells it nowhere else."""
    for name in PARAMETERS:
        parameters = parsed(str(content.get(name, "")))
        if isinstance(parameters, dict) and isinstance(parameters.get("model"), str):
            return str(parameters["model"])
    return None


def parsed(text: str) -> Any:
    """A text's JSON; the text itself where it is none, None where it is too long to be looked into."""
    if len(text) > MAX_PARSED:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text  # it only began like JSON
