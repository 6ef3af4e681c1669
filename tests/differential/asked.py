"""The golden requests as two translators write them: ours, and LiteLLM in its own environment.

A case is asked as the chat request that our `openai_chat` writes of it: what that wire can't say is left out.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.providers import openai_chat
from adapters.providers.dialect import Dialect
from service.domain.fields import Field
from tests.contract.dialects import DIALECTS
from tests.contract.sample import endpoint_for
from tests.differential.compare import Difference, differences, normal
from tests.golden.requests import CASES, RequestCase
from tests.support.parts import ROOT

PYTHON: Final = ROOT / ".venv-litellm" / "bin" / "python"
THEIRS: Final = ROOT / "tests" / "differential" / "theirs.py"

_CLAUDE: Final = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
MODELS: Final = {
    "anthropic": ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
    "bedrock": (f"bedrock/converse/{_CLAUDE}", _CLAUDE),
    "gemini": ("gemini/gemini-2.5-flash", "gemini-2.5-flash"),
    "mistral": ("mistral/mistral-large-latest", "mistral-large-latest"),
    "azure": ("azure/a-deployment", "a-deployment"),
}
"""By dialect: the model as LiteLLM is told of it, and as its provider is."""
THINKING: Final = {
    "mistral": ("mistral/magistral-medium-latest", "magistral-medium-latest"),
    "azure": ("azure/gpt-5.1", "gpt-5.1"),
}
"""The same for cases with a reasoning effort, where the other model has none by LiteLLM's list."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One case for one dialect: the chat request, and the body that we make of it."""

    dialect: str
    case: str
    model: str
    chat: dict[str, Any]
    ours: dict[str, Any]

    @property
    def key(self) -> str:
        """Names it towards the other process."""
        return f"{self.dialect} {self.case}"


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it: the places that differ. A refusal by LiteLLM is one, with an empty path and its words."""

    asked: Asked
    found: tuple[Difference, ...]


def all_asked() -> Iterator[Asked]:
    """Each case for each dialect that can say it and to which a chat request can carry it."""
    by_name = {sample.name: sample.dialect for sample in DIALECTS}
    for name in MODELS:
        for case, wanted in CASES.items():
            if wanted.fits(by_name[name]) and wanted.fits(openai_chat.DIALECT):
                thinks = Field.REASONING_EFFORT in wanted.needs and name in THINKING
                model, upstream = (THINKING if thinks else MODELS)[name]
                chat = _body(openai_chat.DIALECT, wanted, "m")
                del chat["model"]
                yield Asked(name, case, model, chat, _body(by_name[name], wanted, upstream))


def left_out() -> dict[str, int]:
    """By dialect: how many cases it can say and a chat request can't."""
    by_name = {sample.name: sample.dialect for sample in DIALECTS}
    return {
        name: sum(case.fits(by_name[name]) and not case.fits(openai_chat.DIALECT) for case in CASES.values())
        for name in MODELS
    }


def ask(asked: list[Asked]) -> tuple[str, list[Compared]]:
    """LiteLLM's version and what differs.

    Raises:
        subprocess.CalledProcessError: the other process failed; its words are on standard error.
    """
    told = subprocess.run(
        [PYTHON, THEIRS],
        input=json.dumps([[each.key, each.model, each.chat] for each in asked]),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(told.stdout)
    return answer["version"], [compared(each, answer["requests"][each.key]) for each in asked]


def compared(asked: Asked, told: dict[str, Any]) -> Compared:
    """Our body beside what LiteLLM told of its own."""
    if told["refused"]:
        return Compared(asked, (Difference("", "theirs refuses", None, told["refused"]),))
    found = differences(normal(asked.ours, asked.dialect), normal(told["body"], asked.dialect))
    return Compared(asked, tuple(found))


def _body(dialect: Dialect, case: RequestCase, model: str) -> dict[str, Any]:
    endpoint = replace(endpoint_for(dialect), upstream_model=model)
    body: dict[str, Any] = json.loads(dialect.build(case.generation, endpoint, stream=case.stream).body)
    return body
