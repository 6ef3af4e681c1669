"""Counts of tokens that providers of one wire mean in different ways, brought to what `Usage` means."""

from __future__ import annotations


def output_with_reasoning(read: int, written: int, total: int | None, reasoning: int | None) -> int:
    """The output tokens, reasoning included: some servers leave it out of them, and only their total has it."""
    if reasoning and total == read + written + reasoning:
        return written + reasoning
    return written
