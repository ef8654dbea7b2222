"""An application like any other: it asks a model through the provider's own library, and knows of no telemetry.

Where the provider answers is in `OPENAI_BASE_URL`, the key in `OPENAI_API_KEY`. It prints what it was answered.
"""

from openai import APIStatusError, OpenAI

client = OpenAI(max_retries=0)


def ask(text: str) -> str:
    """One question, one answer."""
    try:
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
    except APIStatusError as error:
        return f"refused with {error.status_code}"
    return answer.choices[0].message.content or ""


def ask_streamed(text: str) -> str:
    """The same, a word at a time."""
    stream = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": text}],
        stream=True,
        stream_options={"include_usage": True},
    )
    return "".join(choice.delta.content or "" for piece in stream for choice in piece.choices)


def embed(text: str) -> list[float]:
    """A text's vector."""
    return (
        client.embeddings.create(model="text-embedding-3-small", input=text, encoding_format="float")
        .data[0]
        .embedding
    )


answers = (
    ask("What is two and two?"),
    ask_streamed("两加二等于几?"),
    embed("two and two"),
    ask("429"),
    ask("500"),
)
print(*answers, sep="\n")  # noqa: T201 - an application's own output
