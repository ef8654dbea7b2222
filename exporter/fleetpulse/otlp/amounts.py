"""Tokens and cost, brought to one meaning: input includes what came from the cache, output includes reasoning.

Instrumentations differ in that. Where the numbers themselves show which it was (a part larger than its whole; a
total that only adds up one way), they are added; where they do not, they are taken as the conventions define them.
"""

from typing import Any

from fleetpulse.otlp.plain import Attributes

STORED = ("input_tokens", "output_tokens", "cached_tokens", "tokens_used")
COUNTS = (*STORED, "written_tokens", "reasoning_tokens")


def tokens(found: Attributes) -> Attributes:
    """The token fields of a request log. What is no whole number is passed on, for validation to refuse."""
    if "cached_tokens" in found or "tokens_used" in found:  # else there is nothing to compare
        found = {name: found[name] for name in COUNTS if name in found}
        _reconcile(found)
    return {name: found[name] for name in STORED if name in found}


def _reconcile(said: dict[str, int]) -> None:
    """Adds cached tokens to input, and reasoning to output, where they were told apart from them."""
    for value in said.values():
        if type(value) is not int or value < 0:
            return
    cached, unread = said.get("cached_tokens", 0), said.get("input_tokens", 0)
    if cached <= unread and "tokens_used" not in said:
        return
    from_cache, reasoning = cached + said.get("written_tokens", 0), said.get("reasoning_tokens", 0)
    missing = said.get("tokens_used", 0) - unread - said.get("output_tokens", 0)
    if cached > unread or (from_cache > 0 and missing in (from_cache, from_cache + reasoning)):
        said["input_tokens"] = unread + from_cache
        missing -= from_cache
    if reasoning > 0 and missing == reasoning:
        said["output_tokens"] = said.get("output_tokens", 0) + reasoning


def cost(found: Attributes) -> Any:
    """What the call cost in USD as the instrumentation says, None where it does not.

    Instrumentations say 0 of a model they have no price for, so 0 is as good as nothing.
    """
    said = found.get("cost")
    if said is None and ("input_cost" in found or "output_cost" in found):
        parts = (found.get("input_cost"), found.get("output_cost"))
        said = sum(part for part in parts if isinstance(part, int | float))
    return said or None
