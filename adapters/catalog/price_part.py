"""What a catalogue file says of prices. What they become per token is in `rows`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from adapters.documents.shapes import Part

Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class PricePart(Part):
    """Prices as providers list them: per million tokens."""

    prompt: Money = Field(description="Per million tokens read.")
    completion: Money = Field(description="Per million tokens generated.")
    request: Money = Field(default=Decimal(0), description="Per request.")
    image: Money = Field(default=Decimal(0), description="Per image read.")
    cache_read: Money | None = Field(
        default=None, description="Per million tokens read from the provider's cache; left out, as `prompt`."
    )
    cache_write: Money | None = Field(
        default=None, description="Per million tokens written to the provider's cache; left out, as `prompt`."
    )
    reasoning: Money | None = Field(
        default=None, description="Per million tokens of reasoning; left out, as `completion`."
    )
    audio_input: Money | None = Field(
        default=None, description="Per million tokens of audio read; left out, as `prompt`."
    )
    audio_output: Money | None = Field(
        default=None, description="Per million tokens of audio generated; left out, as `completion`."
    )
    currency: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{3}$",
        description="ISO 4217 code, one of `exchange_rates`; left out, the catalogue's.",
    )
