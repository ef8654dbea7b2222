"""How many tokens a provider's answer says it took, whichever library made it: objects and dictionaries alike.

Known by the names of their fields: OpenAI's two APIs (and those that copy them), Anthropic, Amazon Bedrock's
Converse, Gemini. Providers disagree on whether input includes cached tokens; here it does.
"""

from collections.abc import Mapping, Sequence

from fleetpulse.client.records import RequestFields

WRAPPERS = ("response", "message")  # events of streams hold the response that they are of
USAGE = ("usage", "usage_metadata", "usageMetadata")
MODEL = ("model", "model_version", "modelVersion")
INPUT = ("prompt_tokens", "input_tokens", "inputTokens", "prompt_token_count", "promptTokenCount")
OUTPUT = ("completion_tokens", "output_tokens", "outputTokens", "candidates_token_count", "candidatesTokenCount")
TOTAL = ("total_tokens", "totalTokens", "total_token_count", "totalTokenCount")
DETAILS = ("prompt_tokens_details", "input_tokens_details")
CACHED_WITHIN = ("cached_content_token_count", "cachedContentTokenCount")
READ_BESIDE = ("cache_read_input_tokens", "cacheReadInputTokens")
WRITTEN_BESIDE = ("cache_creation_input_tokens", "cacheWriteInputTokens")
TOOLS_BESIDE = ("tool_use_prompt_token_count", "toolUsePromptTokenCount")
THOUGHT_BESIDE = ("thoughts_token_count", "thoughtsTokenCount")


def read_usage(response: object) -> RequestFields:
    """The tokens and the model that a response names; what it does not say is left out. Never raises.

    A response may be its own usage: anything with one of the known fields.
    """
    try:
        return _read(response)
    except Exception:  # noqa: BLE001 - a property of somebody's object may do anything
        return {}


def _read(response: object) -> RequestFields:
    usage = _first(response, USAGE)
    inner = None if usage is not None else _first(response, WRAPPERS)
    if inner is not None and not isinstance(inner, str):
        response, usage = inner, _first(inner, USAGE)
    model = _first(response, MODEL)
    found: RequestFields = {"model": model} if isinstance(model, str) else {}
    return {**found, **_tokens(response if usage is None else usage)}


def _tokens(usage: object) -> RequestFields:
    found: RequestFields = {}
    put, got, total = (_count(usage, names) for names in (INPUT, OUTPUT, TOTAL))
    read = _count(usage, READ_BESIDE)
    if put is not None:
        beside = read, _count(usage, WRITTEN_BESIDE), _count(usage, TOOLS_BESIDE)
        found["input_tokens"] = put + sum(number or 0 for number in beside)
    if got is not None:
        found["output_tokens"] = got + (_count(usage, THOUGHT_BESIDE) or 0)
    if total is not None:
        found["tokens_used"] = total
    cached = _cached(usage) if read is None else read
    if cached is not None and put is not None:
        found["cached_tokens"] = cached
    return found


def _cached(usage: object) -> int | None:
    details = _first(usage, DETAILS)
    return _count(usage, CACHED_WITHIN) if details is None else _count(details, ("cached_tokens",))


def _count(usage: object, names: Sequence[str]) -> int | None:
    value = _first(usage, names)
    return value if isinstance(value, int) and value >= 0 else None


def _first(owner: object, names: Sequence[str]) -> object:
    """The first of the named things that is there and not None."""
    if isinstance(owner, Mapping):
        return next((owner[name] for name in names if owner.get(name) is not None), None)
    values = (getattr(owner, name, None) for name in names)
    return next((value for value in values if value is not None), None)
