"""The page docs/differential.md: how many requests differ from LiteLLM's, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.differential.asked import MODELS, Compared
from tests.differential.reasons import Explained, Reason

MEANS: Final = {"same": "same meaning", "kept": "kept by ours", "choice": "a choice"}

_HEAD: Final = """\
# Beside another translator

`make differential` gives the golden requests to LiteLLM {version}, in an environment of its own and without a
network, as the chat requests that they are, and compares the body that it would send with ours. It writes this
page and fails for a difference without a reason, and for a reason without a difference. It is no part of
`make test`. Each reason stands in `tests/differential/reasons.yaml`.

Taken as equal before anything is compared: a string and a list of one text block (Anthropic, Mistral, Azure),
`snake_case` and `camelCase` (Gemini, whose JSON is that of protobuf), a schema as an object and as its text
(Bedrock), an empty `inferenceConfig` and none, and a tool of Anthropic's that says `custom` or nothing.

*Same meaning*: the provider reads both alike. *Kept by ours*: the caller asked for it; LiteLLM loses it, refuses
it or writes what the provider's documentation does not have. *A choice*: the provider takes either.

## Counts

`left out`: cases that a chat request of OpenAI's form can't carry. `places`: where bodies differ, with refusals.

| dialect | cases | left out | equal | different | refused by LiteLLM | places |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def page(version: str, compared: Sequence[Compared], left_out: dict[str, int], explained: Explained) -> str:
    """The page's text."""
    rows = [
        _row(name, [each for each in compared if each.asked.dialect == name], left_out[name]) for name in MODELS
    ]
    whole = _row("all", list(compared), sum(left_out.values()))
    reasons = "\n".join(_reasons(explained))
    return _HEAD.format(version=version) + "\n".join([*rows, whole]) + "\n\n## Reasons\n\n" + reasons + "\n"


def _row(name: str, compared: list[Compared], left_out: int) -> str:
    refused = sum(any(found.how == "theirs refuses" for found in each.found) for each in compared)
    equal = sum(not each.found for each in compared)
    numbers = (len(compared), left_out, equal, len(compared) - equal - refused, refused)
    places = sum(len(each.found) for each in compared)
    return f"| {name} | " + " | ".join(map(str, (*numbers, places))) + " |"


def _reasons(explained: Explained) -> Iterator[str]:
    yield "| dialects | where | in cases | places | verdict | why |"
    yield "| --- | --- | ---: | ---: | --- | --- |"
    for reason, covered in explained.by_reason:
        cases = len({each.asked.key for each, _ in covered})
        cells = (", ".join(reason.dialects), _where(reason), cases, len(covered), MEANS[reason.means], reason.why)
        yield "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def _where(reason: Reason) -> str:
    return ", ".join(f"`{place}`" if place else "the whole request" for place in reason.places)
