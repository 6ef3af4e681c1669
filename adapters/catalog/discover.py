"""Asking an OpenAI-compatible server which models it serves. The HTTP call itself is given by the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.documents.shapes import INT32_MAX
from service.domain.catalog import Provider

Get = Callable[[Provider, str], Awaitable[object]]
"""GETs a path below the provider's base URL, authenticated as its row says, and returns the decoded JSON."""

_MOST_MODELS: Final = 1000


@dataclass(frozen=True, slots=True)
class Discovered:
    """A model that a server says it serves: its own name of it, and its context in tokens if it says so."""

    upstream_model: str
    context_length: int | None = None
    input_modalities: tuple[str, ...] = ("text",)

    def model_id(self, slug: str) -> str:
        """The name that requests use: the server's if it is vendor/name, else the provider's slug/name."""
        name = self.upstream_model
        if name.count("/") == 1 and not name.startswith("/") and not name.endswith("/"):
            return name
        # llama.cpp names a model by its file when it was given no other name.
        return f"{slug}/{name.rsplit('/', 1)[-1]}"


async def discover(provider: Provider, get: Get) -> tuple[Discovered, ...]:
    """The models that `provider` lists at /models, in its order.

    Raises:
        ValueError: the answer is not a list of models.
        Exception: whatever `get` raises.
    """
    return models_in(await get(provider, "/models"))


def models_in(answer: object) -> tuple[Discovered, ...]:
    """The models in an answer of /models: `{"data": [{"id": …}, …]}`.

    Beyond the id, servers say different things: vLLM `max_model_len`, llama.cpp `meta.n_ctx_train` and
    `capabilities`, LM Studio `max_context_length`. What is not understood is left out, and so is a context that no
    message of the API can hold: some say "without limit" by a very large number.

    Raises:
        ValueError: the answer is not a list of models.
    """
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list):
        raise ValueError('the answer of /models is not {"data": [{"id": …}]}')  # noqa: TRY004 - data, not a type
    found: dict[str, Discovered] = {}
    for entry in data[:_MOST_MODELS]:
        if isinstance(entry, Mapping) and isinstance(name := entry.get("id"), str) and _usable(name):
            found.setdefault(name, Discovered(name, _context(entry), _inputs(entry)))
    return tuple(found.values())


def _usable(name: str) -> bool:
    return 0 < len(name) <= 255 and not any(c.isspace() or not c.isprintable() for c in name)


def _context(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    stated = (
        entry.get("max_model_len"),
        entry.get("max_context_length"),
        entry.get("context_length"),
        meta.get("n_ctx_train") if isinstance(meta, Mapping) else None,
    )
    return next((n for n in stated if type(n) is int and 0 < n <= INT32_MAX), None)


def _inputs(entry: Mapping[str, Any]) -> tuple[str, ...]:
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, list) and ("multimodal" in capabilities or "vision" in capabilities):
        return ("text", "image")
    return ("text",)
