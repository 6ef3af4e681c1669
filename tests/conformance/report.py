"""The page docs/conformance.md: what llmprobe found, and why what did not pass did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.conformance.prepare import PACKAGE, VERSION
from tests.conformance.probe import SURFACES, Probed

OUTCOMES: Final = ("pass", "unsupported", "inconclusive", "fail")

WHY: Final = {
    "rate-limit-headers": "Nothing limits requests yet, and no numbers are invented.",
    "responses-mcp-tools": "The probe hosts no MCP server.",
    "responses-reasoning-roundtrip": "The probe has no form for it in this API.",
    "parallel-tools": "The model makes one call; with a model that makes two the check passes.",
    "vision": "The model reads no images, its row says so, and images are refused.",
    "previous-response-id": "The model has the whole conversation and doesn't remember it: it is that small.",
    "reasoning-cap": "The row's endpoints can't express reasoning.effort, so it is refused.",
    "chat-reasoning": "The row's endpoints can't express reasoning.effort, so it is refused.",
    "json-mode": "Anthropic's Messages have no JSON mode, so it is refused.",
    "chat-logprobs": "Anthropic's Messages have no log probabilities, so they are refused.",
    "chat-seed": "This API has no seed, so it is refused.",
    "chat-n-choices": "This API gives one answer, so n above 1 is refused.",
    "chat-stop-string": "The Responses API has no stop sequences, so they are refused.",
}
"""By the end of a check's name: a reason of ours for what did not pass, beside what the probe says."""

_HEAD: Final = f"""\
# Conformance

What [{PACKAGE}](https://github.com/ddalcu/{PACKAGE}) {VERSION} finds. `make conformance` runs it and writes this
page. It is not part of `make test`: it fetches a package and takes about ten minutes. The service, the simulator,
the model and the probe run on loopback, in a network of their own where the system allows it; nothing is uploaded.

The simulator's model `sim-obey` does by rule what a request asks for: `adapters/providers/simulator/obedient.py`.
It stands behind each dialect in turn. With `openai_chat` all that is built must pass; with the others, what their
API has no words for is refused with an error that names the field. The local model is the one of `make run`.

The probe runs with `--full --reasoning default`. Its own default asks for reasoning in every check, and then
`responses-streaming` fails: its schema, that of Open Responses, names `response.reasoning.delta` what OpenAI names
`response.reasoning_text.delta`, and OpenAI's name is the one that is sent.

`unsupported` is what the probe says of a clean refusal and of what it does not look at; it is no failure.
`inconclusive`: the model did not do what the check is about.
"""


def page(results: Sequence[Probed], date: str) -> str:
    """The page's text."""
    return "\n".join((_HEAD, f"Last run: {date}.\n", *_counts(results), "", *_not_passed(results), ""))


def why(check: str) -> str:
    """Our reason for a check that did not pass; empty when there is none yet."""
    return next((reason for end, reason in WHY.items() if check.endswith(end)), "")


def _counts(results: Sequence[Probed]) -> Iterator[str]:
    yield "## Counts\n"
    yield f"| over | surface | checks | {' | '.join(OUTCOMES)} |"
    yield f"| --- | --- | {' | '.join('---:' for _ in ('checks', *OUTCOMES))} |"
    for probed in results:
        for surface in SURFACES:
            counts = probed.counts(surface)
            numbers = " | ".join(str(counts[outcome]) for outcome in OUTCOMES)
            yield f"| {probed.target} | {surface} | {counts.total()} | {numbers} |"


def _not_passed(results: Sequence[Probed]) -> Iterator[str]:
    yield "## What did not pass\n"
    yield "| over | check | outcome | the probe says | why |"
    yield "| --- | --- | --- | --- | --- |"
    for probed in results:
        for checks in probed.surfaces.values():
            for check in checks:
                if check.outcome != "pass":
                    said = " ".join(check.reason.split()).replace("|", "\\|")
                    yield f"| {probed.target} | `{check.id}` | {check.outcome} | {said} | {why(check.id)} |"
