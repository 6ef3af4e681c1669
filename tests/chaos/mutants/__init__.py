"""Processes that lack one part each, by name: how they are started, and what must be found of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """`command` starts it in the place of `python -m workers`; one of `rules` must be broken in every run.

    `seconds`: for how long a plan must go on to show it. `brokers`: how many of Kafka's it needs. `serves`: it
    takes the place of services, and shows only when all processes are replaced.
    """

    command: Sequence[str]
    seconds: float
    rules: frozenset[str]
    brokers: int = 0
    serves: bool = False


MUTANTS: Final[Mapping[str, Mutant]] = {
    "no_self_fence": Mutant(
        ("-m", "tests.chaos.mutants.no_self_fence"), 4.0, frozenset({"no_call_starts_after_one_of_a_higher_epoch"})
    ),
    "no_epoch_check": Mutant(
        ("-m", "tests.chaos.mutants.no_epoch_check"),
        2.5,
        frozenset({"nothing_follows_the_end", "what_was_told_holds"}),
    ),
    "no_wait_for_acks": Mutant(
        ("-m", "tests.chaos.mutants.no_wait_for_acks"),
        10.0,
        frozenset({"nothing_follows_a_tombstone"}),
        brokers=1,
    ),
    "offsets_first": Mutant(
        ("-m", "tests.chaos.mutants.offsets_first"),
        10.0,
        frozenset({"every_record_is_a_job_or_a_dead_letter"}),
        brokers=1,
    ),
    "no_drain": Mutant(
        ("-m", "tests.chaos.mutants.no_drain"), 30.0, frozenset({"who_waits_gets_an_answer"}), serves=True
    ),
}
