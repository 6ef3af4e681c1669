"""Translation by itself, in a process of its own: build, read and decode of every dialect, timed without any I/O.

Reads commands as JSON lines, `{"rounds": 7, "seconds": 0.05}`, and answers each with one: `{"figures": {DIALECT:
{PART: [µs of each round]}}}`. PART is one of PARTS; those of decoding are per token, the others per call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import orjson

from bench.dialects.samples import CONVERSATION, NAMES, QUESTION, Sample, sample
from bench.traffic import STREAM_TOKENS
from service.domain.events import TextDelta
from service.domain.generation import Generation

PARTS: Final = ("build", "build, long", "read", "decode, one a read", "decode, many a read")
_WARM_UP: Final = 20


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """CPU µs by dialect and part, one figure a round; each takes `seconds`, another dialect first each round."""
    parts = {name: _parts(sample(name)) for name in NAMES}
    found: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in NAMES}
    for timed in parts.values():
        for run, _ in timed.values():
            for _ in range(_WARM_UP):
                run()
    for number in range(rounds):
        first = number % len(NAMES)
        for part in PARTS:
            for name in NAMES[first:] + NAMES[:first]:
                run, units = parts[name][part]
                found[name][part].append(_time(run, seconds) / units)
    return found


def _time(run: Callable[[], object], seconds: float) -> float:
    """CPU µs of one run, the mean of as many as fit into the time."""
    clock = time.process_time_ns
    begun, due, runs = clock(), clock() + int(seconds * 1e9), 0
    while (now := clock()) < due:
        run()
        runs += 1
    return (now - begun) / runs / 1000


def _parts(of: Sample) -> Mapping[str, tuple[Callable[[], object], int]]:
    check(of)
    return {
        "build": (partial(_build, of, QUESTION), 1),
        "build, long": (partial(_build, of, CONVERSATION), 1),
        "read": (partial(of.dialect.read, of.whole), 1),
        "decode, one a read": (partial(decode, of, of.events), STREAM_TOKENS),
        "decode, many a read": (partial(decode, of, of.reads), STREAM_TOKENS),
    }


def check(of: Sample) -> None:
    """Returns when the dialect reads the same text from all forms of its answer.

    Raises:
        AssertionError: it does not.
    """
    told = [text(decode(of, pieces)) for pieces in (of.events, of.reads)]
    assert told[0] == told[1], f"{of.dialect.name} reads its stream otherwise when it comes at once"
    answered = text(of.dialect.read(of.whole))
    assert answered, f"{of.dialect.name} reads no text"
    assert told[0].startswith(answered), f"{of.dialect.name} reads another text from its whole answer"


def decode(of: Sample, pieces: tuple[bytes, ...]) -> list[Any]:
    """All events of a stream that comes in these pieces."""
    decoder = of.dialect.decoder()
    events: list[Any] = []
    for piece in pieces:
        events += decoder.feed(piece)
    events += decoder.end()
    return events


def text(events: Iterable[object]) -> str:
    """The text that the events tell."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def _build(of: Sample, generation: Generation) -> object:
    return of.dialect.build(generation, of.endpoint, stream=True)


def main() -> None:
    """Answers commands until its input ends."""
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        try:
            answer: dict[str, Any] = {"figures": measure(asked["rounds"], asked["seconds"])}
        except AssertionError as error:
            answer = {"error": str(error)}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
