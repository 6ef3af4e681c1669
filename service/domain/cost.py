"""What an answer costs: the tokens that its provider counted, at the prices of the endpoint that gave it.

Pure and exact: decimals all the way, nothing is rounded. Prices that depend on the length of the prompt, on the
time of day or on a processing tier are not known here, and of the prices for writing to a cache there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal
from typing import Final

from service.domain.catalog import Price
from service.domain.events import Event, Usage
from service.domain.generation import Generation, Image, ToolResult
from service.domain.money import Cost

AUDIO_INPUT: Final = "prompt.audio_tokens"
AUDIO_OUTPUT: Final = "completion.audio_tokens"
"""The names under which Usage.details counts audio."""

# Sums of prices with some 30 digits times counts with some 10 keep every digit.
_EXACT: Final = Context(prec=100)
_ZERO: Final = Decimal(0)


def cost_of(price: Price, usage: Usage, images: int = 0) -> Decimal:
    """The amount in the price's currency for `usage` and for `images` pictures read.

    Each token is paid once, at the price of the most special kind that it is of. Parts that are larger than their
    whole are paid as stated, and nothing is left of the whole: nobody is paid for less than was counted. Audio may
    be read from a cache; then its tokens are paid as cached ones. Counts below 0 are 0.
    """
    if price.free:
        return _ZERO
    total = price.request
    if images > 0:
        total = _EXACT.fma(price.image, images, total)
    return _written(price, usage, _read(price, usage, total))


def _read(price: Price, usage: Usage, total: Decimal) -> Decimal:
    rest = usage.input_tokens
    if cached := _count(usage.cached_tokens):
        rest -= cached
        total = _EXACT.fma(_or(price.cache_read, price.prompt), cached, total)
    if stored := _count(usage.cache_write_tokens):
        rest -= stored
        total = _EXACT.fma(_or(price.cache_write, price.prompt), stored, total)
    rest = max(rest, 0)
    # Without a price of its own audio is among the rest.
    if price.audio_input is not None and (heard := min(_detail(usage, AUDIO_INPUT), rest)):
        rest -= heard
        total = _EXACT.fma(price.audio_input, heard, total)
    return _EXACT.fma(price.prompt, rest, total)


def _written(price: Price, usage: Usage, total: Decimal) -> Decimal:
    rest = usage.output_tokens
    if reasoning := _count(usage.reasoning_tokens):
        rest -= reasoning
        total = _EXACT.fma(_or(price.reasoning, price.completion), reasoning, total)
    rest = max(rest, 0)
    if price.audio_output is not None and (spoken := min(_detail(usage, AUDIO_OUTPUT), rest)):
        rest -= spoken
        total = _EXACT.fma(price.audio_output, spoken, total)
    return _EXACT.fma(price.completion, rest, total)


def _count(stated: int | None) -> int:
    return stated if stated is not None and stated > 0 else 0


def _detail(usage: Usage, name: str) -> int:
    return max(next((count for each, count in usage.details if each == name), 0), 0)


def _or(stated: Decimal | None, other: Decimal) -> Decimal:
    return other if stated is None else stated


def priced(usage: Usage, price: Price, asked: Generation) -> Usage:
    """`usage` with what it costs; `asked` is what the endpoint was sent, images of earlier turns included."""
    images = _images(asked) if price.image else 0
    return replace(usage, cost=Cost(cost_of(price, usage, images), price.currency))


def with_cost(events: Sequence[Event], price: Price, asked: Generation) -> tuple[Sequence[Event], Usage | None]:
    """A whole answer's events with the cost in the usage that holds, and that usage; None: there is none."""
    told = last_usage(events)
    if told is None:
        return events, None
    used = priced(told, price, asked)
    return [used if event is told else event for event in events], used


def last_usage(events: Sequence[Event]) -> Usage | None:
    """The usage that holds: a later one replaces an earlier."""
    return next((event for event in reversed(events) if isinstance(event, Usage)), None)


def _images(asked: Generation) -> int:
    parts = [part for turn in asked.turns for part in turn.parts]
    results = [part for result in parts if isinstance(result, ToolResult) for part in result.parts]
    return sum(isinstance(part, Image) for part in (*parts, *results))
