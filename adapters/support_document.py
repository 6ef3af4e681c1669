"""What each dialect can say, from the dialects' own tables and the catalogue that ships, as docs/support.md.

`python -m adapters.support_document` writes the page. Nothing is judged here: what a field that can't be said
means for a call is the domain's (service/domain/fields.py, service/domain/filters.py); this module only tells it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Final

from adapters.catalog import DEFAULT_CATALOG, read_catalog
from adapters.catalog.schema import CatalogDocument, EndpointPart, ModelPart, ProviderPart, QuirksPart
from adapters.providers.dialect import Dialect
from adapters.providers.registry import DIALECTS
from service.domain.catalog import Quirks
from service.domain.fields import BRIDGED, BRIDGES, EMULATED, FETCHED, HINTS, Field

PAGE: Final = Path("docs/support.md")


class Support(StrEnum):
    """What becomes of a field at an endpoint of a dialect whose row adds nothing to it."""

    YES = "yes"
    BY_ROW = "by its row"
    AS_FUNCTION = "as a function"
    FETCHED = "fetched"
    EMULATED = "emulated"
    LEFT_OUT = "left out"
    UNLESS_BOUND = "left out or no"
    NO = "no"


_ROWS_OF_THEIR_OWN: Final = (Quirks(reasoning_style="reasoning_object"),)
_MEDIA: Final = (
    Field.IMAGE_INPUT,
    Field.IMAGE_URL,
    Field.AUDIO_INPUT,
    Field.FILE_INPUT,
    Field.FILE_URL,
    Field.TOOL_MEDIA,
    Field.OPAQUE_INPUT,
    Field.AUDIO_OUTPUT,
    Field.AUDIO_HISTORY,
)
_MEANINGS: Final[Mapping[Field, str]] = MappingProxyType(
    {
        Field.IMAGE_INPUT: "images, inline",
        Field.IMAGE_URL: "images by address",
        Field.AUDIO_INPUT: "sound, inline",
        Field.FILE_INPUT: "files, inline",
        Field.FILE_URL: "files by address",
        Field.TOOL_MEDIA: "images and files in tools' results",
        Field.OPAQUE_INPUT: "kinds of parts without a name of ours, such as video",
        Field.AUDIO_OUTPUT: "spoken answers",
        Field.AUDIO_HISTORY: "spoken answers in history, which no door takes",
        Field.REASONING_CONTEXT: "which earlier reasoning counts",
        Field.OPAQUE_FORMAT: "kinds of answers without a name of ours",
        Field.CUSTOM_TOOLS: "tools that take a text",
        Field.LOCAL_TOOLS: "shell, patches: run by the caller",
        Field.OPAQUE_TOOLS: "tools that the provider runs",
        Field.TOOL_DETAILS: "settings of tools that only Responses has",
        Field.AUTHOR_NAME: "who of several wrote a message",
        Field.ANNOTATION_HISTORY: "citations in history",
        Field.PHASE: "what an assistant's message in history was",
        Field.MAX_TOOL_CALLS: "of tools that the provider runs",
    }
)

_START: Final = """\
# What can be said to whom

Every dialect has a table of the request fields that its wire can carry (`expressible` in its `dialect.py`); a row
of the catalogue takes away what its provider, its model or its modalities refuse. What is left decides which
endpoints a request may go to. This page is written from these tables; `tests/contract/test_support_matrix.py`
holds each cell to what a plan makes of a request, and each *yes* to the bytes that are sent.

| cell | means |
|---|---|
| yes | it reaches the wire |
| by its row | yes with the quirk `reasoning_style: reasoning_object`, else left out |
| as a function | the tool is offered as a function, its calls are mapped back; no with `require_parameters` |
| fetched | we send the bytes that stand at the address, where the key [allows it](media.md); else no |
| left out | a hint: not sent, and named in `x-ignored-parameters`; no with `require_parameters` |
| left out or no | not sent and named; no where the request insists on it by its `tool_choice` |
| no | the endpoint is not eligible; when none is, the error names the field as the caller wrote it |

Where a row refuses `response_format.json_schema`, it may be [emulated](structured-output.md).

Values have limits too (a temperature of 1.5, five stop sequences): what a wire can't take is refused by the
field's name before the call. Fields are named as in the Chat Completions API; the Responses API's own mean the
same ones.

Hints never refuse a call. One whose value a wire has no word for is left out like one that it lacks, but is not
named: a plan goes by fields. Such are, with `anthropic`, a `prompt_cache_options.ttl` of more than an hour,
which leaves the default of 5 minutes (a shorter one is the least that is asked for: it becomes 5 minutes or an
hour, whose writing costs more), and with `gemini`, a `service_tier` other than default, standard, flex and
priority.
"""

_PROVIDERS: Final = """
## Providers that ship

What their rows take away from their dialect, and how their wire differs from it. Where each comes from stands
beside it in `adapters/catalog/default.yaml`; how to switch them on: [Providers](providers.md).
"""

_MODELS: Final = """
## Models that ship

What they read, what they refuse whoever serves them, and the efforts that they take ([what these
mean](catalogue.md#reasoning-efforts)); *any*: what the dialect takes.
"""


def support(dialect: Dialect, field: Field) -> Support:
    """What becomes of `field` at an endpoint of `dialect`."""
    can = dialect.expressible
    if field in can:
        return Support.YES
    if any(field in dialect.expressible_with(quirks) for quirks in _ROWS_OF_THEIR_OWN):
        return Support.BY_ROW
    if field in HINTS:
        return Support.LEFT_OUT
    if field is Field.OPAQUE_TOOLS:
        return Support.UNLESS_BOUND
    if field in BRIDGES and can >= BRIDGES[field]:
        return _bridge(field)
    return Support.NO


def _bridge(field: Field) -> Support:
    if field in BRIDGED:
        return Support.AS_FUNCTION
    if field in FETCHED:
        return Support.FETCHED
    if field in EMULATED:
        return Support.EMULATED
    raise ValueError(f"no word for how {field.value} is bridged")


def page() -> str:
    """The whole page."""
    document = read_catalog(DEFAULT_CATALOG)
    binding = [field for field in Field if field not in HINTS and field not in _MEDIA]
    lines = [
        _START,
        "## Fields that bind\n",
        *_matrix(binding),
        "\n## Media\n",
        *_matrix(_MEDIA),
        "\n## Hints\n",
        *_matrix(field for field in Field if field in HINTS),
        _PROVIDERS,
        *_providers(document),
        _MODELS,
        *_models(document),
    ]
    return "\n".join(lines) + "\n"


def _matrix(fields: Iterable[Field]) -> Iterator[str]:
    yield from _head("field", *(f"`{name}`" for name in DIALECTS))
    for field in fields:
        meaning = f": {_MEANINGS[field]}" if field in _MEANINGS else ""
        yield _row(f"`{field.value}`{meaning}", *(support(dialect, field).value for dialect in DIALECTS.values()))


def _providers(document: CatalogDocument) -> Iterator[str]:
    yield from _head("provider", "dialect", "refuses", "its wire")
    for provider in document.providers:
        refused = provider.refuses & DIALECTS[provider.dialect].expressible
        yield _row(f"`{provider.slug}`", f"`{provider.dialect}`", _names(refused), _quirks(provider))


def _quirks(provider: ProviderPart) -> str:
    usual = QuirksPart()
    given = {name: getattr(provider.quirks, name) for name in QuirksPart.model_fields}
    differs = [f"`{name}: {value}`" for name, value in given.items() if value != getattr(usual, name)]
    if provider.passthrough:
        differs.append(f"takes {', '.join(f'`{name}`' for name in sorted(provider.passthrough))} as they are")
    return ", ".join(differs)


def _models(document: CatalogDocument) -> Iterator[str]:
    yield from _head("model", "at", "reads", "refuses", "efforts")
    for model in document.models:
        # Endpoints that differ in nothing told here share a row.
        for (refused, efforts), endpoints in groupby(model.endpoints, key=lambda part: _terms(model, part)):
            places = ", ".join(_place(part) for part in endpoints)
            yield _row(f"`{model.id}`", places, ", ".join(model.input_modalities), refused, efforts)


def _terms(model: ModelPart, endpoint: EndpointPart) -> tuple[str, str]:
    refused = model.refuses | endpoint.refuses
    if Field.REASONING_EFFORT in refused:
        return _names(refused), ""
    efforts = model.efforts if endpoint.efforts is None else endpoint.efforts
    return _names(refused), ", ".join(efforts) or "any"


def _place(endpoint: EndpointPart) -> str:
    return f"{endpoint.provider} ({endpoint.name})" if endpoint.name else endpoint.provider


def _names(fields: frozenset[Field]) -> str:
    return ", ".join(f"`{field.value}`" for field in Field if field in fields)


def _head(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield "|" + "---|" * len(titles)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
