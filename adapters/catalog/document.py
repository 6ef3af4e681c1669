"""Writes docs/catalogue.md from the schema: `python -m adapters.catalog.document`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adapters.catalog.schema import CatalogDocument, FactPart
from adapters.documents.describe import models_in, table, title
from service.domain.fields import HINTS, Field

PAGE: Final = Path("docs/catalogue.md")

_START: Final = """\
# The catalogue

Who serves which models, at which price, and what is known about them: one YAML file. The one that ships is
`adapters/catalog/default.yaml`; copy it, change it, and name yours in the settings (`catalog.path`).
`eurouter config check` says what is wrong with it, with the key's path and the line, and what came of it.

The file is looked at every second and used when it has changed, without a restart; calls under way end with
the catalogue that they began with. A file with a mistake changes nothing: the log says why, and the old one
stays in force. (Kubernetes: mount the ConfigMap as a folder. A `subPath` mount is never updated.)

## The shortest

A server of your own that speaks OpenAI's chat API (vLLM, llama.cpp, Ollama, …) needs three lines, and a fourth
to have its models found:

```yaml
providers:
  - slug: my-gpu
    dialect: openai_chat
    base_url: http://127.0.0.1:8000/v1
    discover: true
```

Its models are then called as the server calls them when that is `vendor/name`, and `my-gpu/name` when it is
not. Nothing is known about it that filters could go by: state its `facts` if requests ask for a region.

What the file says comes first: the id or bare name of a model in it, an alias, and each of them with `:floor`,
`:nitro` or `:free`, never comes to mean a model that was discovered. One whose id is such a name is left out, and
the log says so (`catalog_names_taken`). A bare name that two servers give means neither; call such models by their
ids, in aliases too. Models that only a provider with an `owner` serves exist for this owner alone; nobody finds
them, or that provider, in the lists that need no key.

Such servers ignore what they don't know. Whole catalogues for vLLM, SGLang, llama.cpp, Ollama and TGI that refuse
it in their place: `examples/catalogue/`.

## A provider with a key, a model, an alias

```yaml
currency: EUR
exchange_rates: {USD: 0.86}

providers:
  - slug: example
    dialect: openai_chat
    base_url: https://api.example.com/v1
    auth: {secret: env:EXAMPLE_API_KEY}
    facts:
      regions: {value: [fr], source: https://example.com/privacy, verified_on: 2026-11-22}
      retention_days: {value: 0, source: our contract of 2026, verified_on: 2026-11-22}

models:
  - id: meta-llama/llama-3.3-70b-instruct
    endpoints:
      - provider: example
        model: llama-3.3-70b
        price: {prompt: 0.13, completion: 0.40, currency: USD}
        context_length: 131072

aliases:
  - name: default
    models: [meta-llama/llama-3.3-70b-instruct]
    provider: {data_residency: eu}
```

A secret is named, never written: `env:NAME` is an environment variable, `file:PATH` a file that is read again
when it changes. A provider whose secret is missing is listed as not configured and never chosen.

## Reasoning efforts

A request asks for an effort: none, minimal, low, medium, high, xhigh or max. Models take other words, or a number
of tokens. `efforts` says what each effort is there; the endpoint's own table stands in place of its model's:

```yaml
providers:
  - {slug: my-gpu, dialect: openai_chat, base_url: "http://127.0.0.1:8000/v1"}
  - {slug: my-claude, dialect: anthropic, base_url: "http://127.0.0.1:8001/v1"}

models:
  - id: acme/thinker
    efforts: {none: 0, low: 4096, high: 32768}
    endpoints:
      - provider: my-claude
      - provider: my-gpu
        efforts: {none: "off", low: brief, high: deep}
```

An effort that is not in the table is none that the endpoint takes: the request goes to one that does, or is
refused with those that it may ask for. Nothing is rounded to a neighbour. A number is the most that is spent:
where the request's limit for the answer leaves less room, less is. With `anthropic` a word is the level of a model
that thinks adaptively, a number the budget of one that does not, 1024 or more, 0 switches thinking off; without a
table, Claude's models are known by their names. Dialects of OpenAI's shape take words only, and without a table
the request's own.

## How many calls at a time

A server with eight slots serves eight calls; a ninth waits there unseen, or is refused. Say so, and no more are
sent, streams until they end included:

```yaml
providers:
  - slug: my-gpu
    dialect: openai_chat
    base_url: http://127.0.0.1:8000/v1
    discover: true
    concurrency: 8
```

At a provider it is the number of each of its endpoints, not of all together; an endpoint may state its own.

A call that finds an endpoint full goes on to the next of its plan, which is no failure of anybody's. When only
full ones are left, it waits in line for the first place, for at most `routing.max_retry_wait_seconds`, and then
fails with NO_ENDPOINT_AVAILABLE and a Retry-After; each endpoint's line in the error says how full it was.
Background responses together take at most the share `jobs.endpoint_share` of the places, wait for half a second at
most, and are put off when they have waited in vain.

**Each process counts its own calls.** With several that call the same server (replicas, `processes: N`, workers
beside the service) divide: a server with eight slots and two replicas of two processes each has `concurrency: 2`.
A number that is edited counts at once, for calls that wait as well; calls under way are never ended for it.

## All keys
"""

_FIELDS: Final = """
## Request fields

What `refuses` may list. A field marked *hint* is left out where it can't be sent, and named in the answer; any
other makes the endpoint ineligible for a request that sets it. A value of a hint that a wire has no word for is
left out too, but not named. `image_url`, `input_audio`, `file` and `audio` follow from the model's modalities
and need not be listed. Tools are the one exception: where `tools.custom` or `tools.local` is refused, such
tools are sent as functions and their calls mapped back; where `tools.opaque` is, tools that the provider runs
are left out and named, unless the request insists on them. What each dialect can say by itself: [What can be
said to whom](support.md).
"""


def page() -> str:
    """The whole page."""
    return "\n".join((_START, *_sections(), _FIELDS, *_fields())) + "\n"


def _sections() -> Iterator[str]:
    titles = set()
    for model in models_in(CatalogDocument):
        # All facts have the same keys; only the value's kind differs, and that stands where they are listed.
        shown = FactPart[str] if issubclass(model, FactPart) else model
        if title(shown) in titles:
            continue
        titles.add(title(shown))
        yield f"### {title(shown)}\n"
        yield f"{(shown.__doc__ or '').strip()}\n"
        yield from table(shown)
        yield ""


def _fields() -> Iterator[str]:
    for field in Field:
        yield f"- `{field.value}`" + (" (hint)" if field in HINTS else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
