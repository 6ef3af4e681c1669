"""Figures of background jobs to tables and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, Final, TypeAlias

from bench.jobs import sizes
from bench.jobs.sizes import EMPTY, FILLED
from bench.tables import Verdict, milliseconds, pooled, quantile, table

Found: TypeAlias = dict[str, Any]
"""As `bench.jobs.run.measure` leaves it; of a world of it in the functions below."""

_WORLDS: Final = (EMPTY, FILLED)


def tables(found: Found) -> str:
    """All of it; empty when nothing was measured."""
    return "\n\n".join((cost_table(found), claim_table(found), "\n".join(notes(found)))) if found else ""


def cost_table(found: Found) -> str:
    """CPU per call and job, and how fast jobs move."""
    rows = [row for name in _WORLDS if name in found for row in _world_rows(found[name])]
    return table(("measured", "finished jobs", "median", "min to max", "per"), rows)


def claim_table(found: Found) -> str:
    """Claims by the store, by the queue and how many jobs wait."""
    kinds = [("PostgreSQL", found[name]["finished"], found[name]) for name in _WORLDS if name in found]
    kinds += [("SQLite", 0, found["sqlite"])] if "sqlite" in found else []
    rows = []
    for database, finished, kept in kinds:
        for which, by_waiting in kept["claims"].items():
            for waiting, seconds in by_waiting.items():
                cpu = median(pooled(kept["claims_cpu"][which][waiting])) * 1e6
                cells = (*_p50_p99(pooled(seconds)), _micros(cpu))
                rows.append((database, f"{finished:,}", which, f"{int(waiting):,}", *cells))
    return table(("database", "finished jobs", "queue", "waiting jobs", "claim p50", "p99", "CPU p50"), rows)


def notes(found: Found) -> list[str]:
    """What else is worth a line."""
    told = [line for name in _WORLDS if name in found for line in _world_notes(name, found[name])]
    if kept := found.get("sqlite"):
        p50, p99 = _p50_p99(kept["accept"])
        accept = f"{kept['accept_cpu']:.0f} µs CPU, {p50}, p99 {p99}"
        told.append(f"SQLite, {sizes.IN_FLIGHT} accepts at a time: {accept}")
    return told


def _world_notes(name: str, world: Found) -> list[str]:
    told = []
    for one in world["drains"]:
        fifths = ", ".join(f"{rate:.0f}" for rate in one["fifths"])
        busy = f"worker {one['busy']:.0%} busy, database {one['database_busy']:.0%}"
        told.append(f"drain, {name}: {fifths} jobs a second by fifths; {busy}")
    for one in world["events"]:
        busy = f"worker {one['busy']:.0%} busy, upstream and database {one['rest_busy']:.0%}"
        told.append(f"events, {name}: {one['events']:,} in {one['seconds']:.1f} s; {busy}")
    if size := world.get("bytes"):
        count = world["finished"]
        told.append(f"{count:,} finished jobs: {size / 2**30:.1f} GiB, {size / count:,.0f} bytes a job")
    return told


def verdicts(found: Found) -> list[Verdict]:
    """Every target."""
    told = _of_empty(found.get(EMPTY, {}))
    if FILLED in found:
        told += _changes(found[EMPTY], found[FILLED])
    return told


def _world_rows(world: Found) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    finished = f"{world['finished']:,}"

    def add(what: str, values: Sequence[float], form: Callable[[float], str], per: str) -> None:
        if values:
            spread = f"{form(min(values))} to {form(max(values))}"
            rows.append((what, finished, form(median(values)), spread, per))

    for name, kind in (("foreground", "stored call in the foreground"), ("background", "background job")):
        add(kind, [cost["total"] for cost in world[name]], _micros, "CPU of all of ours")
    add("of that, the service", [cost["service"] for cost in world["background"]], _micros, "CPU")
    for q in (0.5, 0.99):
        add(
            f"accept at {sizes.RATE:.0f} a second, p{q * 100:.0f}",
            _quantiles(world["accepted"], q),
            milliseconds,
            "job",
        )
        add(f"follower's lag, p{q * 100:.0f}", _quantiles(world["lags"], q), milliseconds, "event")
    add("drain of waiting jobs", [one["rate"] for one in world["drains"]], _count, "jobs a second")
    add("the same, worker", [one["cpu"] for one in world["drains"]], _micros, "CPU per job")
    add("events appended", [one["rate"] for one in world["events"]], _count, "a second")
    add("the same, worker", [one["cpu"] for one in world["events"]], _micros, "CPU per event")
    return rows


def _of_empty(world: Found) -> list[Verdict]:
    return [
        _judge(
            "background job: more than the same call in the foreground",
            (f"{sizes.ADDED_TARGET:.0f} µs", sizes.ADDED_TARGET),
            [job["total"] - call["total"] for job, call in _pairs(world)],
            _micros,
        ),
        _judge(
            f"accept at {sizes.RATE:.0f} a second, p99",
            (milliseconds(sizes.ACCEPT_TARGET), sizes.ACCEPT_TARGET),
            _quantiles(world.get("accepted", ()), 0.99),
            milliseconds,
            quantile(pooled(world.get("accepted", ())), 0.99),
        ),
        _judge(
            "drain by one worker, jobs a second (at least)",
            (f"{sizes.DRAIN_TARGET:.0f}", -sizes.DRAIN_TARGET),
            [one["rate"] for one in world.get("drains", ())],
            _count,
        ),
        _judge(
            "events appended by one worker a second (at least)",
            (f"{sizes.EVENTS_TARGET:,.0f}", -sizes.EVENTS_TARGET),
            [one["rate"] for one in world.get("events", ())],
            _count,
        ),
        _judge(
            "live follower's lag, p99",
            (milliseconds(sizes.LAG_TARGET), sizes.LAG_TARGET),
            _quantiles(world.get("lags", ()), 0.99),
            milliseconds,
            quantile(pooled(world.get("lags", ())), 0.99),
        ),
        *(_claims(which, world.get("claims_cpu", {})) for which in sizes.QUEUES),
    ]


def _judge(
    what: str,
    limit: tuple[str, float],
    by_round: Sequence[float],
    form: Callable[[float], str],
    value: float | None = None,
) -> Verdict:
    """`limit` as it is told and as a number, negative for the least that is wanted. `value`: else the median."""
    told, number = limit
    if not by_round:
        return Verdict(what, told, "", None)
    found = median(by_round) if value is None else value
    spread = f" (by round {form(min(by_round))} to {form(max(by_round))})" if len(by_round) > 1 else ""
    met = found <= number if number >= 0 else found >= -number
    return Verdict(what, told, form(found) + spread, met)


def _claims(which: str, claims: Found) -> Verdict:
    what, limit = f"claim among many waiting jobs, {which}: times one among few", f"{sizes.CLAIM_TARGET:.2f}"
    if not claims.get(which):
        return Verdict(what, limit, "", None)
    (few, base), (many, found) = claims[which].items()
    ratio = median(pooled(found)) / median(pooled(base))
    told = f"{ratio:.2f} ({int(many):,} to {int(few):,}; {milliseconds(median(pooled(found)))} CPU)"
    return Verdict(what, limit, told, ratio <= sizes.CLAIM_TARGET)


def _changes(empty: Found, filled: Found) -> list[Verdict]:
    """What finished jobs make dearer or slower."""
    values: list[tuple[str, Callable[[Found], float | None]]] = [
        ("cost of a background job", _cost),
        ("accept, p99", lambda world: quantile(pooled(world["accepted"]), 0.99)),
        ("drain, seconds a job", lambda world: 1 / world["drains"][0]["rate"] if world["drains"] else None),
        ("live follower's lag, p99", lambda world: quantile(pooled(world["lags"]), 0.99)),
        *(
            (f"claim among {int(waiting):,} waiting jobs, {which}", partial(_claim, which, waiting))
            for which, claims in empty["claims_cpu"].items()
            for waiting in claims
        ),
    ]
    limit = f"{sizes.FINISHED_TARGET:+.0%}"
    told = []
    for what, value in values:
        title = f"{filled['finished']:,} finished jobs: {what}"
        before, after = value(empty), value(filled)
        if before and after:
            change = after / before - 1
            told.append(Verdict(title, limit, f"{change:+.1%}", change <= sizes.FINISHED_TARGET))
        else:
            told.append(Verdict(title, limit, "", None))
    return told


def _claim(which: str, waiting: str, world: Found) -> float | None:
    found = pooled(world["claims_cpu"].get(which, {}).get(waiting, ()))
    return median(found) if found else None


def _pairs(world: Found) -> list[tuple[Found, Found]]:
    return list(zip(world.get("background", ()), world.get("foreground", ()), strict=True))


def _cost(world: Found) -> float | None:
    return median(job["total"] for job in world["background"]) if world["background"] else None


def _quantiles(rounds: Sequence[Sequence[float]], q: float) -> list[float]:
    return [quantile(values, q) for values in rounds if values]


def _p50_p99(values: Sequence[float]) -> tuple[str, str]:
    return milliseconds(quantile(values, 0.5)), milliseconds(quantile(values, 0.99))


def _micros(value: float) -> str:
    return f"{value:,.0f} µs" if abs(value) >= 100 else f"{value:.1f} µs"


def _count(value: float) -> str:
    return f"{value:,.0f}"
