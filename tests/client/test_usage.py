from types import SimpleNamespace

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion_usage import PromptTokensDetails

from fleetpulse.client import read_usage

USAGE = CompletionUsage(
    prompt_tokens=1_200,
    completion_tokens=40,
    total_tokens=1_240,
    prompt_tokens_details=PromptTokensDetails(cached_tokens=1_024),
)
OPENAI = {
    "input_tokens": 1_200,
    "output_tokens": 40,
    "tokens_used": 1_240,
    "cached_tokens": 1_024,
    "model": "gpt-4o",
}


def test_openais_own_objects() -> None:
    answer = ChatCompletion(id="1", choices=[], created=1, model="gpt-4o", object="chat.completion", usage=USAGE)
    assert read_usage(answer) == OPENAI
    assert read_usage(answer.model_dump()) == OPENAI


def test_a_stream_tells_at_its_end() -> None:
    pieces = [
        ChatCompletionChunk(
            id="1", choices=[], created=1, model="gpt-4o", object="chat.completion.chunk", usage=usage
        )
        for usage in (None, USAGE)
    ]
    assert [read_usage(piece) for piece in pieces] == [{"model": "gpt-4o"}, OPENAI]


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (  # OpenAI, Responses
            {"usage": {"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}},
            {"input_tokens": 9, "output_tokens": 3, "cached_tokens": 4},
        ),
        (  # Anthropic: input is without what was cached
            SimpleNamespace(
                model="claude",
                usage=SimpleNamespace(
                    input_tokens=10, output_tokens=5, cache_read_input_tokens=100, cache_creation_input_tokens=20
                ),
            ),
            {"model": "claude", "input_tokens": 130, "output_tokens": 5, "cached_tokens": 100},
        ),
        (  # Anthropic, the first event of a stream
            {
                "type": "message_start",
                "message": {"model": "claude", "usage": {"input_tokens": 7, "output_tokens": 1}},
            },
            {"model": "claude", "input_tokens": 7, "output_tokens": 1},
        ),
        ({"type": "message_delta", "usage": {"output_tokens": 33}}, {"output_tokens": 33}),
        (  # Bedrock
            {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cacheReadInputTokens": 0}},
            {"input_tokens": 3, "output_tokens": 2, "tokens_used": 5, "cached_tokens": 0},
        ),
        (  # Gemini: what it thought is output, what tools said is input
            SimpleNamespace(
                model_version="gemini",
                usage_metadata=SimpleNamespace(
                    prompt_token_count=6,
                    candidates_token_count=2,
                    thoughts_token_count=10,
                    cached_content_token_count=4,
                    tool_use_prompt_token_count=None,
                    total_token_count=18,
                ),
            ),
            {"model": "gemini", "input_tokens": 6, "output_tokens": 12, "cached_tokens": 4, "tokens_used": 18},
        ),
        ({"prompt_tokens": 5, "completion_tokens": 1}, {"input_tokens": 5, "output_tokens": 1}),
        ({"message": "hello", "usage": "much"}, {}),
        ("text", {}),
        (None, {}),
        ({"usage": {"prompt_tokens": -1}}, {}),
    ],
)
def test_the_shapes_of_the_providers(response: object, found: dict[str, object]) -> None:
    assert read_usage(response) == found


def test_an_object_that_raises_says_nothing() -> None:
    class Broken:
        @property
        def usage(self) -> object:
            raise RuntimeError("broken")

    assert read_usage(Broken()) == {}
