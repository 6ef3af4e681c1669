"""Raw figures to tables and verdicts. Knows no process; Markdown, so that a table can go into a page as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from bench.dialects import report as dialects_report
from bench.jobs import report as jobs_report
from bench.kafka import report as kafka_report
from bench.run import Raw, Sample
from bench.scenarios import (
    FIRST_TOKEN_STREAMS,
    FIRST_TOKEN_TARGETS,
    MEMORY_GROWTH_TARGET,
    PROCESS_CONNECTIONS,
    PROCESS_COST_TARGET,
    PROCESS_SHARE_TARGET,
    SCENARIOS,
    SERVER_NAMES,
    STORE_TARGETS,
    TARGETS,
    AddedTarget,
    Scenario,
    Server,
    Target,
)
from bench.tables import Verdict, milliseconds, pooled, quantile, table


def cost_table(raw: Raw) -> str:
    """CPU per call and token, by scenario and server."""
    rows = [
        _cost_row(scenario, name, samples)
        for scenario in SCENARIOS
        for name in scenario.servers
        if (samples := raw.samples.get(scenario.name, {}).get(name))
    ]
    head = (
        "scenario",
        "server",
        "CPU, µs",
        "min to max",
        "per",
        "per second",
        "messages a call",
        "busy",
        "rest busy",
    )
    return table(head, rows)


def verdicts(raw: Raw) -> list[Verdict]:
    """Every target, in the order of the tables."""
    found = [_ratio(raw, target) for target in TARGETS]
    found += [_added(raw, target) for target in STORE_TARGETS]
    found += _first_token(raw)
    found += _two_processes(raw)
    found.append(_memory(raw))
    found += dialects_report.verdicts(raw.dialects)
    found += jobs_report.verdicts(raw.jobs)
    found += kafka_report.verdicts(raw.kafka)
    return found


def verdict_table(found: Iterable[Verdict]) -> str:
    """Targets against what was measured."""
    rows = [(verdict.what, verdict.target, verdict.measured, verdict.mark) for verdict in found]
    return table(("target", "at most", "measured", ""), rows)


def first_token_table(raw: Raw) -> str:
    """Milliseconds to the first token, straight and through each server."""
    rows = []
    for name, kept in raw.first_token.items():
        direct, through = pooled(kept["direct"]), pooled(kept["through"])
        cells = [milliseconds(quantile(values, q)) for q in (0.5, 0.99) for values in (direct, through)]
        added = [milliseconds(quantile(through, q) - quantile(direct, q)) for q in (0.5, 0.99)]
        rows.append((_name(name), str(len(through)), *cells[:2], added[0], *cells[2:], added[1]))
    head = ("server", "streams", "p50 direct", "p50 through", "added", "p99 direct", "p99 through", "added")
    return table(head, rows)


def process_table(raw: Raw) -> str:
    """One process and two over separate connections."""
    rows = []
    for count, samples in raw.processes.items():
        costs = [sample["cost"] for sample in samples]
        shares = [" / ".join(str(held) for held in sample["connections"]) for sample in samples]
        rate = f"{median(sample['rate'] for sample in samples):,.0f}"
        rows.append((count, f"{median(costs):.0f}", _spread(costs), rate, ", ".join(shares)))
    return table(("processes", "CPU µs a call", "min to max", "calls/s", "connections held, by round"), rows)


def memory_table(raw: Raw) -> str:
    """Resident memory on the way."""
    rows = []
    for name, points in raw.memory.items():
        some = [point for at, point in enumerate(points) if at in (0, 1, 4, 9)]
        rows.append((_name(name), *(f"{held / 2**20:.1f} MiB at {streams:,}" for streams, held in some)))
    return table(("server", "", "", "", ""), rows)


def as_json(raw: Raw, found: Iterable[Verdict]) -> dict[str, Any]:
    """Everything for the result file: raw figures, medians, verdicts."""
    medians = {
        scenario: {server: round(median(s.cost for s in samples), 2) for server, samples in by_server.items()}
        for scenario, by_server in raw.samples.items()
    }
    told = [{"what": v.what, "target": v.target, "measured": v.measured, "met": v.met} for v in found]
    return {"cpu_us_median": medians, "targets": told, "raw": raw.as_json()}


def _cost_row(scenario: Scenario, name: Server, samples: Sequence[Sample]) -> tuple[str, ...]:
    costs = [sample.cost for sample in samples]
    return (
        scenario.name,
        SERVER_NAMES[name],
        _cost(median(costs)),
        _spread(costs),
        scenario.unit,
        f"{median(sample.rate for sample in samples):,.0f}",
        f"{median(sample.messages for sample in samples):,.0f}",
        f"{median(sample.server_busy for sample in samples):.0%}",
        f"{median(sample.rest_busy for sample in samples):.0%}",
    )


def _ratio(raw: Raw, target: Target) -> Verdict:
    what = f"{target.scenario}: times the {SERVER_NAMES[target.base].replace(',', '')}"
    if target.base_scenario:
        what = f"{target.scenario}, {_door(target.server)}: times {_variant(target.base_scenario)}"
    limit = f"{target.ratio:.2f}"
    ours = raw.samples.get(target.scenario, {}).get(target.server)
    base = raw.samples.get(target.base_scenario or target.scenario, {}).get(target.base)
    if not ours or not base:
        return Verdict(what, limit, "", None)
    ratio = median(s.cost for s in ours) / median(s.cost for s in base)
    by_round = [one.cost / other.cost for one, other in zip(ours, base, strict=True)]
    told = f"{ratio:.2f} (by round {min(by_round):.2f} to {max(by_round):.2f})"
    return Verdict(what, limit, told, ratio <= target.ratio)


def _added(raw: Raw, target: AddedTarget) -> Verdict:
    what = f"{target.scenario}, {_door(target.server)}: more than {_variant(target.base_scenario)}"
    limit = f"{target.added:.0f} µs"
    more, base = (raw.samples.get(name, {}).get(target.server) for name in (target.scenario, target.base_scenario))
    if not more or not base:
        return Verdict(what, limit, "", None)
    added = median(s.cost for s in more) - median(s.cost for s in base)
    by_round = [one.cost - other.cost for one, other in zip(more, base, strict=True)]
    told = f"{added:.0f} µs (by round {min(by_round):.0f} to {max(by_round):.0f})"
    return Verdict(what, limit, told, added <= target.added)


def _first_token(raw: Raw) -> list[Verdict]:
    found = []
    kept = raw.first_token.get("ours")
    for (name, limit), q in zip(FIRST_TOKEN_TARGETS.items(), (0.5, 0.99), strict=True):
        what = f"added time to first token, {FIRST_TOKEN_STREAMS} paced streams, {name}"
        if kept is None:
            found.append(Verdict(what, milliseconds(limit), "", None))
            continue
        added = quantile(pooled(kept["through"]), q) - quantile(pooled(kept["direct"]), q)
        by_round = [
            quantile(one, q) - quantile(other, q)
            for one, other in zip(kept["through"], kept["direct"], strict=True)
        ]
        told = f"{milliseconds(added)} (by round {milliseconds(min(by_round))} to {milliseconds(max(by_round))})"
        found.append(Verdict(what, milliseconds(limit), told, added < limit))
    return found


def _two_processes(raw: Raw) -> list[Verdict]:
    cost = f"two processes: CPU per call against one, {PROCESS_CONNECTIONS} connections"
    share = "two processes: smaller share of the connections (at least)"
    limits = f"±{PROCESS_COST_TARGET:.0%}", f"{PROCESS_SHARE_TARGET:.0%}"
    one, two = raw.processes.get("1"), raw.processes.get("2")
    if not one or not two:
        return [Verdict(cost, limits[0], "", None), Verdict(share, limits[1], "", None)]
    change = median(s["cost"] for s in two) / median(s["cost"] for s in one) - 1
    shares = [_smaller_share(sample["connections"]) for sample in two]
    told = f"{median(shares):.0%} (by round {min(shares):.0%} to {max(shares):.0%})"
    return [
        Verdict(cost, limits[0], f"{change:+.1%}", abs(change) <= PROCESS_COST_TARGET),
        Verdict(share, limits[1], told, median(shares) >= PROCESS_SHARE_TARGET),
    ]


def _memory(raw: Raw) -> Verdict:
    points = raw.memory.get("ours")
    what, limit = "memory: growth after the first fifth of the streams", f"{MEMORY_GROWTH_TARGET:.0%}"
    if not points:
        return Verdict(what, limit, "", None)
    early, late = points[1][1], points[-1][1]
    growth = late / early - 1
    told = f"{growth:+.1%} ({early / 2**20:.1f} to {late / 2**20:.1f} MiB, {points[-1][0]:,} streams)"
    return Verdict(what, limit, told, growth <= MEMORY_GROWTH_TARGET)


def _smaller_share(held: Sequence[int]) -> float:
    return 0.0 if len(held) < 2 else min(held) / sum(held)


def _name(server: str) -> str:
    return next(told for name, told in SERVER_NAMES.items() if name == server)


def _door(server: Server) -> str:
    return SERVER_NAMES[server].rpartition(", ")[2]


def _variant(scenario: str) -> str:
    return scenario.rpartition(": ")[2]


def _cost(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _spread(values: Sequence[float]) -> str:
    return f"{_cost(min(values))} to {_cost(max(values))}"
