"""Amounts of money: exact decimals with their currency, and how they are written. No prices, no arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer costs: an exact amount, never negative, in `currency` (ISO 4217)."""

    amount: Decimal
    currency: str

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Lower-case header names with ASCII values, the same for gRPC metadata and HTTP."""
        return (("x-cost", decimal_text(self.amount)), ("x-cost-currency", self.currency))


def decimal_text(value: Decimal) -> str:
    """A decimal number without exponent and without zeros at its end."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
