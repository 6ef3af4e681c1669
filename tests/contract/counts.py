"""`python -m tests.contract.counts`: what of the recorded exchanges is read and replayed, and how large the golden
matrix is. Counts by doing it; prints the page docs/recorded.md and, with --write, writes it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adapters.providers.dialect import Dialect
from service.domain.failure import UpstreamError
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.dialects import DIALECTS
from tests.contract.recorded_forms import KINDS, counted, emitted
from tests.contract.sample import decode
from tests.golden.requests import CASES
from tests.integration import test_recorded_exchanges as chat_doors
from tests.integration import test_recorded_responses as responses_doors
from tests.support.parts import ROOT, SHARED
from tests.support.recorded import Exchange, read_exchanges

PAGE: Final = ROOT / "docs" / "recorded.md"
COLUMNS: Final = ("answer", "stream", "failure", "nothing recorded")
FOREIGN: Final = "asked in the provider's own API, which is none of our doors: compared form by form"

_HEAD: Final = """\
# Recorded exchanges and the golden matrix

Written by `make docs`, where the recorded exchanges are at hand; they are no part of this repository.

## Answers

Each recorded answer and stream is read by the dialect that speaks to its provider, without an event that it does
not know, and folded; what is read is held to the provider's own SDK, told again as a chat completion and as a
response, whole and streamed, and held to the published schemas. `failure`: an error status, or an error with
status 200, which gets its kind. `nothing recorded`: status 200 and an empty body, which is a cut stream.

"""
_REQUESTS: Final = """
## Requests

`through the doors`: the recorded request comes in over HTTP and over gRPC and reaches the provider as it was
recorded. `forms`: the fields in use with what kind of thing stands in them; each is in the body of a golden
request, or has its reason below.

"""
_MATRIX: Final = """
## The golden matrix

Neutral requests and answers by dialect, each in a file of its own. A case that a dialect can't say is refused with
the field's name, which the contract suite asserts.

"""


def became(exchange: Exchange, dialect: Dialect) -> str:
    """One of COLUMNS. Raises UpstreamError for a stream or an answer that is neither whole nor an error."""
    body = exchange.raw or exchange.body.encode()
    if exchange.status != 200:
        assert dialect.classify(exchange.status, exchange.headers, body).kind
        return "failure"
    if not body:
        return "nothing recorded"
    if exchange.document is None:
        assert fold(decode(dialect, [body])).choices
        return "stream"
    if "error" in exchange.document and exchange.document["error"] is not None:
        try:
            dialect.read(body)
        except UpstreamError:
            return "failure"
    assert fold(dialect.read(body)).choices
    return "answer"


def page(shared: Path) -> str:
    """The page's text, of the exchanges below `shared`."""
    return "\n".join(
        (
            _HEAD + "\n".join(_answers(shared)),
            _REQUESTS + "\n".join(_requests(shared)),
            "",
            *_reasons(),
            _MATRIX + "\n".join(_matrix()),
            "",
        )
    )


def _answers(shared: Path) -> Iterator[str]:
    yield from _table("kind", "dialect", "exchanges", *COLUMNS)
    whole: Counter[str] = Counter()
    for kind, recorded in KINDS.items():
        found = Counter(became(exchange, recorded.dialect) for exchange in read_exchanges(shared, kind))
        whole += found
        yield _row(kind, recorded.dialect.name, found.total(), *(found[column] for column in COLUMNS))
    yield _row("all", "", whole.total(), *(whole[column] for column in COLUMNS))


def _requests(shared: Path) -> Iterator[str]:
    yield from _table(
        "kind", "requests", "through the doors", "forms", "in a golden case", "left out at the doors"
    )
    for kind, recorded in KINDS.items():
        requests = sum(exchange.request is not None for exchange in read_exchanges(shared, kind))
        forms = counted(shared, kind).keys()
        passed, left_out = _doors(kind)
        why = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        yield _row(
            kind, requests, passed, len(forms), len(forms & emitted(recorded)), why or FOREIGN * (not passed)
        )


def _doors(kind: str) -> tuple[int, dict[str, int]]:
    """How many exchanges of a kind pass the doors, and how many don't, by reason: what their tests assert."""
    if kind in chat_doors.REPLAYED:
        tally = chat_doors.REPLAYED[kind]
        return tally.total - sum(tally.left_out.values()), tally.left_out
    if kind == responses_doors.KIND:
        left_out = dict(Counter(responses_doors.LEFT_OUT.values()))
        return responses_doors.REPLAYED.total - responses_doors.REPLAYED.refused, left_out
    return 0, {}


def _reasons() -> Iterator[str]:
    yield from _table("kind", "form that no golden request has", "why")
    for kind, recorded in KINDS.items():
        yield from (_row(kind, f"`{form}`", why) for form, why in recorded.unsaid.items())


def _matrix() -> Iterator[str]:
    yield from _table(
        "dialect", "requests", f"of {len(CASES)} cases", "answers, whole and streamed", "has no words for"
    )
    requests = answers = 0
    for sample in DIALECTS:
        fitting = sum(case.fits(sample.dialect) for case in CASES.values())
        read = len(ANSWERS) - len(sample.lacks)
        requests, answers = requests + fitting, answers + read
        share = f"{100 * fitting // len(CASES)} %"
        yield _row(sample.name, fitting, share, read, ", ".join(f"`{case}`" for case in sample.lacks))
    yield _row("all", requests, "", answers, "")


def _table(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row(*("---" for _ in names))


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def main(arguments: list[str]) -> int:
    """Prints the page or, with --write, writes it; without the exchanges it says so and leaves the page alone."""
    if not SHARED.exists():
        print("the recorded exchanges are not here: docs/recorded.md stays as it is")
        return 0
    text = page(SHARED)
    if arguments == ["--write"]:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
