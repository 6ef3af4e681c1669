"""The group `kafka`: what Kafka adds to background jobs, and how fast they come in, begin and are told of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka.errors import KafkaError

from bench.fleet import Piped, StartError
from bench.jobs import world
from bench.jobs.run import place_of
from bench.jobs.world import Place
from bench.kafka import broker, intake, rows, verify
from bench.kafka.sizes import FORMS, OFF, WAYS, Sizes, sizes_of
from bench.kafka.world import RESULTS, KafkaWorlds, keep_moments, settings_of, start_on
from bench.run import Stage

Say = Callable[[str], None]

_INTAKE_ROUNDS: Final = 2
_INTAKE: Final = "intake"


def measure(stage: Stage, say: Say) -> None:
    """Measures when the group was asked for; the figures go to `stage.raw.kafka`.

    `costs` and `arrivals` by way, one a round; `published`: seconds by way and round; `wakes`; `intake` by form;
    `results`: how many jobs had theirs in the end.
    """
    options = stage.options
    if "kafka" not in options.groups:
        return
    sizes = sizes_of(rounds=options.rounds, quick=options.quick)
    try:
        with ExitStack() as stack:
            stage.raw.kafka |= everything(place_of(stage, stack), sizes, say)
    except (StartError, KafkaError, asyncpg.PostgresError, OSError) as error:
        stage.raw.missing["background jobs with Kafka"] = str(error)


def everything(place: Place, sizes: Sizes, say: Say) -> dict[str, Any]:
    """All figures.

    Raises:
        StartError: something did not run.
    """
    found: dict[str, Any] = {
        "sizes": asdict(sizes),
        **{name: {way: [] for way in WAYS} for name in ("costs", "arrivals", "published")},
        "intake": {form: [] for form in FORMS},
    }
    with ExitStack() as stack:
        say("kafka: starting")
        worlds = start(place, stack)
        say("kafka: warming up")
        verify.answers(worlds)
        for way in WAYS:
            rows.back_to_back(worlds, way, max(20, sizes.calls // 2))
        _go_round(worlds, sizes, found, say)
        say(f"kafka: {sizes.wakes} wake-ups")
        found["wakes"] = rows.wakes(worlds, sizes.wakes)
        say("kafka: looking at every result")
        found["results"] = verify.told(worlds)
        for each in (worlds.off, worlds.on):
            each.stop()
        _intakes(worlds, place, sizes, found["intake"], say)
    return found


def start(place: Place, stack: ExitStack, profile: Path | None = None) -> KafkaWorlds:
    """A broker, a client that reads results, both worlds and their workers; `profile`: of the one with Kafka."""
    beside = broker.start(place.cores, place.folder / "kafka")
    stack.callback(beside.stop)
    client = Piped("kafka-client", "bench.kafka.client", place.cores, place.folder)
    stack.callback(client.stop)
    on = start_on(place, beside, profile)
    stack.callback(on.stop)
    off = world.start(OFF, place)
    stack.callback(off.stop)
    worlds = KafkaWorlds(off, on, beside, client)
    worlds.ask("connect", bootstrap=beside.bootstrap)
    worlds.ask("read", topic=RESULTS)
    for each in (on, off):
        keep_moments(each)
        each.start_worker()
    return worlds


def _go_round(worlds: KafkaWorlds, sizes: Sizes, found: dict[str, Any], say: Say) -> None:
    """What is measured every round, another way first each time: machines change their speed."""
    ways = list(WAYS)
    for number in range(sizes.rounds):
        say(f"kafka, round {number + 1} of {sizes.rounds}")
        first = number % len(ways)
        for way in ways[first:] + ways[:first]:
            found["costs"][way].append(asdict(rows.back_to_back(worlds, way, sizes.calls)))
            cost, published = rows.arrivals(worlds, way, sizes.seconds)
            found["arrivals"][way].append(asdict(cost))
            found["published"][way].append(published)


def _intakes(worlds: KafkaWorlds, place: Place, sizes: Sizes, found: dict[str, Any], say: Say) -> None:
    where = world.start(_INTAKE, place, changes={"kafka": settings_of(worlds.broker, group=_INTAKE)})
    try:
        for number in range(min(_INTAKE_ROUNDS, sizes.rounds)):
            for form in FORMS:
                say(f"kafka: intake of {sizes.records:,} records, {form}")
                found[form].append(intake.intake(worlds, where, number, form, sizes.records))
    finally:
        where.stop()
