"""Figures with Kafka to a table and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, TypeAlias

from bench.kafka import sizes
from bench.kafka.sizes import BY, FORMS, OFF, ON, WAYS
from bench.tables import Verdict, milliseconds, pooled, quantile, table

Found: TypeAlias = dict[str, Any]
"""As `bench.kafka.run.measure` leaves it."""

_LOADS = {"costs": f"{sizes.IN_FLIGHT} at a time, or all at once", "arrivals": f"{sizes.RATE:.0f} a second"}


def tables(found: Found) -> str:
    """All of it; empty when nothing was measured."""
    return "\n\n".join((cost_table(found), speed_table(found), *notes(found))) if found else ""


def cost_table(found: Found) -> str:
    """CPU per job by load and way."""
    rows = []
    for load, told in _LOADS.items():
        for way, name in WAYS.items():
            costs = found[load][way]
            total = [cost["total"] for cost in costs]
            added = [_micros(median(_added(found, load, way)))] if way != OFF else [""]
            worker = _micros(median(cost["worker"] for cost in costs))
            rows.append((told, name, _micros(median(total)), _spread(total, _micros), worker, *added))
    return table(("jobs come", "way", "CPU per job", "min to max", "of it the worker", "added by Kafka"), rows)


def speed_table(found: Found) -> str:
    """How fast jobs come in, begin and are told of."""
    rows = []
    for form in FORMS:
        taken = found["intake"][form]
        rate, cpu = [one["rate"] for one in taken], [one["cpu"] for one in taken]
        what = f"intake, {form}, {taken[0]['bytes']} bytes"
        rows.append((what, f"{median(rate):,.0f}", _spread(rate, _count), "records a second"))
        rows.append(("the same, worker", _micros(median(cpu)), _spread(cpu, _micros), "CPU per record"))
    woken = found["wakes"]["woken"]
    rows += [
        (f"wake-up to claim, p{q * 100:.0f}", milliseconds(quantile(woken, q)), f"{len(woken)} jobs", "job")
        for q in (0.5, 0.99)
    ]
    for way in (ON, BY):
        rounds = found["published"][way]
        for q in (0.5, 0.99):
            spread = _spread([quantile(values, q) for values in rounds], milliseconds)
            name = f"end to its result, {WAYS[way]}, p{q * 100:.0f}"
            rows.append((name, milliseconds(quantile(pooled(rounds), q)), spread, "job"))
    return table(("measured", "median", "min to max", "per"), rows)


def notes(found: Found) -> list[str]:
    """What else is worth a line."""
    told = [
        f"intake, {form}: {one['batch']:.0f} records a transaction; worker {one['busy']:.0%} busy, database "
        f"{one['database_busy']:.0%}, broker {one['broker_busy']:.0%}"
        for form in FORMS
        for one in found["intake"][form]
    ]
    alone = milliseconds(median(found["wakes"]["alone"]))
    told.append(f"without a wake-up a job is claimed after {alone} (median of {len(found['wakes']['alone'])})")
    told.append(f"{found['results']:,} jobs with Kafka, each with its result")
    return ["\n".join(told)]


def verdicts(found: Found) -> list[Verdict]:
    """Every target."""
    told = []
    for form in FORMS:
        rates = [one["rate"] for one in found.get("intake", {}).get(form, ())]
        what = f"intake of small records, {form}, one consumer, a second (at least)"
        told.append(_judge(what, sizes.INTAKE_TARGET, rates, _count, least=True))
    for load, loaded in _LOADS.items():
        for way in (ON, BY):
            what = f"Kafka adds to a job {WAYS[way].removesuffix(', with Kafka')}, {loaded}"
            added = _added(found, load, way) if found else []
            told.append(_judge(what, sizes.ADDED_TARGET, added, _micros))
    woken = found.get("wakes", {}).get("woken", [])
    p99 = quantile(woken, 0.99) if woken else None
    told.append(_judge("wake-up to claim when idle, p99", sizes.WAKE_TARGET, [], milliseconds, p99))
    for way in (ON, BY):
        rounds = found.get("published", {}).get(way, [])
        what = f"end to its result at {sizes.RATE:.0f} jobs a second, {WAYS[way]}, p99"
        value = quantile(pooled(rounds), 0.99) if rounds else None
        by_round = [quantile(values, 0.99) for values in rounds]
        told.append(_judge(what, sizes.PUBLISHED_TARGET, by_round, milliseconds, value))
    return told


def _judge(
    what: str,
    limit: float,
    by_round: Sequence[float],
    form: Callable[[float], str],
    value: float | None = None,
    *,
    least: bool = False,
) -> Verdict:
    """`value`: else the median of the rounds. `least`: the limit is one from below."""
    if value is None:
        if not by_round:
            return Verdict(what, form(limit), "", None)
        value = median(by_round)
    spread = f" (by round {_spread(by_round, form)})" if len(by_round) > 1 else ""
    met = value >= limit if least else value <= limit
    return Verdict(what, form(limit), form(value) + spread, met)


def _added(found: Found, load: str, way: str) -> list[float]:
    """By round, CPU µs more than without Kafka."""
    pairs = zip(found[load][way], found[load][OFF], strict=True)
    return [one["total"] - base["total"] for one, base in pairs]


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    return f"{form(min(values))} to {form(max(values))}"


def _micros(value: float) -> str:
    return f"{value:,.0f} µs"


def _count(value: float) -> str:
    return f"{value:,.0f}"
