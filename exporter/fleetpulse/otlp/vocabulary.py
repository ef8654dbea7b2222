"""Every name by which instrumentations tell what a request log says, the better name first.

Sources: OpenTelemetry's GenAI conventions, from 1.27 (`gen_ai.system`, `prompt_tokens`) to the newest
(`gen_ai.provider.name`, `cache_read.input_tokens`); OpenInference; OpenLLMetry (`traceloop.*`, `llm.usage.*`);
and what OpenLIT, Pydantic AI, Vercel's AI SDK, Langfuse and Sentry add to them.
"""

from typing import Final

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("openinference.span.kind",),
    "step": ("traceloop.span.kind",),
    "operation": ("gen_ai.operation.name", "llm.request.type"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "llm.vendor"),
    "model": (
        "gen_ai.response.model",
        "llm.response.model_name",
        "llm.response.model",
        "llm.model_name",
        "embedding.model_name",
    ),
    "asked_model": ("gen_ai.request.model", "llm.request.model_name", "llm.request.model"),
    "input_tokens": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
    ),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.cached_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cached_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.usage.cache_read_input_tokens",
    ),
    "written_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.details.cache_write_tokens",
        "llm.token_count.prompt_details.cache_write",
        "llm.usage.cache_creation_input_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
        "llm.usage.reasoning_tokens",
    ),
    "tokens_used": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"),
    "cost": (
        "gen_ai.usage.cost",
        "gen_ai.usage.total_cost",
        "gen_ai.cost.total_cost",
        "gen_ai.cost.usd",
        "llm.cost.total",
        "operation.cost",
    ),
    "input_cost": ("llm.cost.prompt", "gen_ai.usage.input_cost", "gen_ai.cost.input_cost"),
    "output_cost": ("llm.cost.completion", "gen_ai.usage.output_cost", "gen_ai.cost.output_cost"),
    "user_id": (
        "user.id",
        "enduser.id",
        "gen_ai.user.id",
        "llm.user",
        "gen_ai.request.user",
        "enduser.pseudo.id",
        "langfuse.user.id",
        "traceloop.association.properties.user_id",
        "ai.telemetry.metadata.userId",
    ),
    "session_id": (
        "gen_ai.conversation.id",
        "session.id",
        "gen_ai.session.id",
        "langfuse.session.id",
        "traceloop.association.properties.session_id",
        "ai.telemetry.metadata.sessionId",
    ),
    "account_id": ("fleetpulse.account_id",),
    "error_type": ("error.type",),
    "event_name": ("event.name",),  # of a log record, before records had a field for it
}
# name -> (field, rank): one look-up for each attribute, however many aliases there are.
FIELDS: Final = {name: (field, rank) for field, names in ALIASES.items() for rank, name in enumerate(names)}

# Operations that are one call of a model, and those that contain calls: their tokens would be counted twice.
MODEL_KINDS: Final = {"LLM": "chat", "EMBEDDING": "embeddings"}
MODEL_OPERATIONS: Final = frozenset(
    (
        "chat",
        "text_completion",
        "completion",
        "generate_content",
        "generate_text",
        "embeddings",
        "embedding",
        "rerank",
        "image_generation",
        "speech",
        "transcription",
    )
)
OTHER_OPERATIONS: Final = frozenset(
    ("create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "retrieval", "agent", "workflow", "tool")
)
CALL_EVENT: Final = "gen_ai.client.inference.operation.details"

# What instrumentations call providers, and what genai-prices does.
PROVIDERS: Final = {
    "anthropic": "anthropic",
    "azure": "azure",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "perplexity": "perplexity",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "az.ai.openai": "azure",
    "az.ai.inference": "azure",
    "azure_openai": "azure",
    "azure-openai": "azure",
    "azureopenai": "azure",
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "bedrock": "aws",
    "amazon-bedrock": "aws",
    "amazon_bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "google-vertex": "google",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "togetherai": "together",
    "fireworks_ai": "fireworks",
    "voyage": "voyageai",
}

# What was said to and by the model: never kept as metadata. The last thing a user said may become the command.
CONTENT: Final = (
    "gen_ai.input.",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.",
    "gen_ai.retrieval.",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompt",
    "llm.completions",
    "llm.choices",
    "llm.tools",
    "llm.request.functions",
    "llm.invocation_parameters",
    "embedding.",
    "input.",
    "output.",
    "ai.prompt",
    "ai.response.",
    "ai.values",
    "traceloop.entity.",
    "exception.",
)
ORIGIN_METADATA: Final = (
    "service.namespace",
    "service.version",
    "deployment.environment.name",
    "deployment.environment",
    "host.name",
)


def provider_id(name: str) -> str:
    """A provider's name as genai-prices has it; others as they are, in lower case.

    What follows a dot may say which of the provider's interfaces it is (`openai.chat`).
    """
    name = name.lower()
    return PROVIDERS.get(name) or PROVIDERS.get(name.partition(".")[0]) or name
