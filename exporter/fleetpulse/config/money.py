"""The sections about money: prices of one's own, and budgets."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from fleetpulse.config.sections import Section
from fleetpulse.signals import Identifier, Label

Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Scope = Literal["total", "source", "model", "user", "account"]


class ModelPrice(Section):
    """What calls of a model cost. Cached tokens are part of the input; unless priced, they cost the same.

    A kind of tokens that has no price leaves the requests that used it unpriced. `request_usd` comes on top; alone,
    it is the whole price of a call, however many tokens.
    """

    model: Label = Field(description="The model as it is reported; `*` stands for any text.")
    provider: Label | None = Field(None, description="Only where this provider is reported; default: any.")
    input_usd_per_million: Price | None = Field(None, description="USD per million input tokens.")
    output_usd_per_million: Price | None = Field(None, description="USD per million output tokens.")
    cached_usd_per_million: Price | None = Field(
        None, description="USD per million input tokens read from a cache; default: what input costs."
    )
    request_usd: Price | None = Field(None, description="USD per request.")

    @model_validator(mode="after")
    def _some_price(self) -> "ModelPrice":
        if self.input_usd_per_million is self.output_usd_per_million is self.request_usd is None:
            raise ValueError("a price needs input_usd_per_million, output_usd_per_million or request_usd")
        return self


class LocalPrice(ModelPrice):
    """A price of your own. It wins over the bundled price list; a cost that is reported wins over both.

    Of several that fit a request, an exact model wins over one with `*`, then the longer, then one with a provider,
    then the one that is valid from later.
    """

    valid_from: AwareDatetime | None = Field(
        None,
        alias="from",
        description="Only for requests made at this time or later (RFC 3339, with a zone); default: always.",
    )

    model_config = ConfigDict(populate_by_name=True)


class Budget(Section):
    """A spending limit: in total, or of one source, model, user or account; per day, week or month."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="What dashboards and alerts call it.")]
    limit_usd: Annotated[float, Field(gt=0, allow_inf_nan=False, description="The limit in USD.")]
    period: Literal["day", "week", "month"] = Field("day", description="How long until it starts anew.")
    source: Identifier | None = Field(None, description="Only this source's requests; default: all.")
    model: Identifier | None = Field(None, description="Only this model's requests; default: all.")
    user: Identifier | None = Field(None, description="Only the requests with this `user_id`; default: all.")
    account: Identifier | None = Field(None, description="Only the requests with this `account_id`; default: all.")

    @model_validator(mode="after")
    def _one_scope(self) -> "Budget":
        if sum(target is not None for target in (self.source, self.model, self.user, self.account)) > 1:
            raise ValueError("a budget is of one source, model, user or account, not of several")
        return self

    @property
    def scope(self) -> Scope:
        """What it is of."""
        scopes: tuple[Scope, ...] = ("source", "model", "user", "account")
        return next((scope for scope in scopes if getattr(self, scope) is not None), "total")

    @property
    def target(self) -> str:
        """The source, model, user or account it is of; empty for the total."""
        return self.source or self.model or self.user or self.account or ""
