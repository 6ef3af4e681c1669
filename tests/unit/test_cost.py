"""What an answer costs: exact, every token paid once, and what a provider's odd counts come to."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.catalog import Price
from service.domain.cost import cost_of, priced
from service.domain.events import Usage
from service.domain.generation import Generation, Image, Role, Text, ToolResult, Turn
from service.domain.money import Cost, decimal_text

MILLION = Decimal(1_000_000)
PLAIN = Price(Decimal("2.5") / MILLION, Decimal(15) / MILLION)
FULL = Price(
    prompt=Decimal(10),
    completion=Decimal(100),
    request=Decimal(7),
    image=Decimal(3),
    cache_read=Decimal(1),
    cache_write=Decimal(12),
    reasoning=Decimal(200),
    audio_input=Decimal(40),
    audio_output=Decimal(400),
)
AUDIO = (("prompt.audio_tokens", 5), ("completion.audio_tokens", 6))

counts = st.integers(0, 10**7)
amounts = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(0, 10**6), st.integers(0, 12)
)
maybe = st.none() | amounts
prices = st.builds(
    Price,
    prompt=amounts,
    completion=amounts,
    image=amounts,
    cache_read=maybe,
    cache_write=maybe,
    reasoning=maybe,
    audio_input=maybe,
    audio_output=maybe,
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Counts that agree with each other: parts add up to no more than their whole."""
    text, cached, stored, heard = (draw(counts) for _ in range(4))
    said, reasoning, spoken = (draw(counts) for _ in range(3))
    read, written = text + cached + stored + heard, said + reasoning + spoken
    details = (("prompt.audio_tokens", heard), ("completion.audio_tokens", spoken))
    return Usage(read, written, read + written, cached, stored, reasoning, details)


def added(a: Usage, b: Usage) -> Usage:
    """The sum of two usages of `usages`."""
    return Usage(
        a.input_tokens + b.input_tokens,
        a.output_tokens + b.output_tokens,
        a.total_tokens + b.total_tokens,
        (a.cached_tokens or 0) + (b.cached_tokens or 0),
        (a.cache_write_tokens or 0) + (b.cache_write_tokens or 0),
        (a.reasoning_tokens or 0) + (b.reasoning_tokens or 0),
        tuple((name, x + y) for (name, x), (_, y) in zip(a.details, b.details, strict=True)),
    )


@pytest.mark.parametrize(
    ("usage", "images", "amount"),
    [
        (Usage(0, 0, 0), 0, 7),
        (Usage(20, 3, 23), 0, 7 + 200 + 300),
        (Usage(20, 3, 23), 2, 7 + 6 + 200 + 300),
        (Usage(20, 3, 23, cached_tokens=15), 0, 7 + 15 + 50 + 300),
        (Usage(20, 3, 23, cached_tokens=15, cache_write_tokens=4), 0, 7 + 15 + 48 + 10 + 300),
        (Usage(20, 30, 50, reasoning_tokens=20), 0, 7 + 200 + 4000 + 1000),
        (Usage(20, 30, 50, details=AUDIO), 0, 7 + 5 * 40 + 15 * 10 + 6 * 400 + 24 * 100),
        (Usage(20, 30, 50, 2, 3, 4, AUDIO), 1, 7 + 3 + 2 + 36 + 200 + 100 + 800 + 2400 + 2000),
    ],
    ids=str,
)
def test_a_cost_is_what_a_hand_computes(usage: Usage, images: int, amount: int) -> None:
    assert cost_of(FULL, usage, images) == amount


def test_kinds_without_a_price_of_their_own_cost_what_other_tokens_cost() -> None:
    usage = Usage(20, 30, 50, 2, 3, 4, AUDIO)
    assert cost_of(PLAIN, usage) == cost_of(PLAIN, Usage(20, 30, 50)) == Decimal("0.0005")


def test_the_digits_of_a_cost_are_exact() -> None:
    price = Price(Decimal("0.0000003333333333333333333333333333"), Decimal("0.00000000000000000001"))
    amount = cost_of(price, Usage(123_456_789, 987_654_321, 1_111_111_110))
    by_hand = Fraction(123_456_789 * 3333333333333333333333333333, 10**34) + Fraction(987_654_321, 10**20)
    assert Fraction(amount) == by_hand
    assert decimal_text(amount) == "41.1522630000098765432099999958847737"


def test_a_free_endpoint_costs_nothing_whatever_it_counts() -> None:
    assert Price().free
    assert cost_of(Price(), Usage(10**9, 10**9, 2 * 10**9, 5, 5, 5, AUDIO), images=9) == 0
    assert decimal_text(cost_of(Price(), Usage(1, 1, 2))) == "0"


@pytest.mark.parametrize(
    "price",
    [
        Price(cache_read=Decimal(1)),
        Price(cache_write=Decimal(1)),
        Price(reasoning=Decimal(1)),
        Price(audio_input=Decimal(1)),
        Price(audio_output=Decimal(1)),
    ],
    ids=str,
)
def test_a_price_of_any_kind_makes_an_endpoint_one_that_costs(price: Price) -> None:
    assert not price.free
    assert cost_of(price, Usage(100, 100, 200, 10, 10, 10, AUDIO)) > 0


def test_prices_of_special_kinds_leave_the_order_by_price_as_it_is() -> None:
    assert FULL.blended == Price(Decimal(10), Decimal(100)).blended


def test_more_cached_than_read_is_paid_as_stated_and_nothing_besides() -> None:
    assert cost_of(FULL, Usage(10, 0, 10, cached_tokens=90)) == 7 + 90
    assert cost_of(FULL, Usage(10, 0, 10, cached_tokens=9, cache_write_tokens=9)) == 7 + 9 + 9 * 12
    assert cost_of(FULL, Usage(0, 10, 10, reasoning_tokens=90)) == 7 + 90 * 200


def test_audio_from_a_cache_is_paid_once() -> None:
    audio = (("prompt.audio_tokens", 100),)
    assert cost_of(FULL, Usage(100, 0, 100, cached_tokens=100, details=audio)) == 7 + 100
    assert cost_of(FULL, Usage(100, 0, 100, cached_tokens=40, details=audio)) == 7 + 40 + 60 * 40


def test_counts_below_zero_are_none() -> None:
    broken = Usage(-5, -7, -12, cached_tokens=-3, cache_write_tokens=-1, reasoning_tokens=-9, details=(AUDIO[0],))
    assert cost_of(FULL, broken, images=-2) == 7


@given(prices, usages(), usages())
def test_two_usages_together_cost_what_they_cost_apart(price: Price, a: Usage, b: Usage) -> None:
    assert cost_of(price, added(a, b)) == cost_of(price, a) + cost_of(price, b)


@given(prices, usages(), usages(), st.integers(0, 9))
def test_more_tokens_or_images_never_cost_less(price: Price, usage: Usage, more: Usage, images: int) -> None:
    least = cost_of(price, usage, images)
    assert least >= 0
    assert cost_of(price, added(usage, more), images) >= least
    assert cost_of(price, usage, images + 1) >= least


@given(prices, usages(), st.integers(0, 9))
def test_a_cost_is_the_sum_of_its_kinds(price: Price, usage: Usage, images: int) -> None:
    heard, spoken = (count for _, count in usage.details)
    cached, stored, thought = usage.cached_tokens or 0, usage.cache_write_tokens or 0, usage.reasoning_tokens or 0

    def at(own: Decimal | None, general: Decimal) -> Fraction:
        return Fraction(general if own is None else own)

    expected = (
        Fraction(price.prompt) * (usage.input_tokens - cached - stored - heard)
        + at(price.cache_read, price.prompt) * cached
        + at(price.cache_write, price.prompt) * stored
        + at(price.audio_input, price.prompt) * heard
        + Fraction(price.completion) * (usage.output_tokens - thought - spoken)
        + at(price.reasoning, price.completion) * thought
        + at(price.audio_output, price.completion) * spoken
        + Fraction(price.image) * images
    )
    assert Fraction(cost_of(price, usage, images)) == expected


@given(
    prices,
    st.builds(
        Usage,
        *(st.integers(-(10**9), 10**9),) * 3,
        *(st.none() | st.integers(-(10**9), 10**9),) * 3,
        st.lists(st.tuples(st.sampled_from([name for name, _ in AUDIO]), st.integers(-99, 99))).map(tuple),
    ),
)
def test_no_counts_at_all_make_a_cost_negative(price: Price, usage: Usage) -> None:
    assert cost_of(price, usage) >= 0


def test_every_image_that_was_sent_counts_those_of_earlier_turns_and_tools_too() -> None:
    image = Image("data:image/png;base64,AAAA")
    result = ToolResult("call_1", (Text("a chart"), image))
    turns = (
        Turn(Role.USER, (Text("look"), image, image)),
        Turn(Role.ASSISTANT, (Text("nice"),)),
        Turn(Role.TOOL, (result,)),
    )
    asked = Generation(turns=turns)
    used = Usage(1, 1, 2)
    assert priced(used, FULL, asked).cost == Cost(Decimal(7 + 10 + 100 + 9), "EUR")
    assert priced(used, replace(FULL, image=Decimal(0), currency="USD"), asked).cost == Cost(Decimal(117), "USD")


def test_a_cost_leaves_all_else_of_a_usage_as_it_is() -> None:
    told = Usage(9, 8, 17, 3, 2, 1, details=AUDIO, extra=(("tier", '"flex"'),))
    assert all(getattr(told, each.name) != each.default for each in fields(Usage) if each.name != "cost")
    used = priced(told, FULL, Generation(turns=()))
    assert used.cost is not None
    assert replace(used, cost=None) == told


def test_a_cost_is_written_in_plain_digits_with_its_currency() -> None:
    told = Cost(Decimal("1.250E-7"), "EUR").headers()
    assert told == (("x-cost", "0.000000125"), ("x-cost-currency", "EUR"))
