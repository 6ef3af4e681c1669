"""Writes docs/settings.md from the settings' models: `python -m service.settings.document`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from adapters.documents.describe import default_of, models_in, title, value_of
from adapters.documents.problems import inner_model
from service.settings.changes import is_live
from service.settings.model import Settings

PAGE: Final = Path("docs/settings.md")

_START: Final = """\
# Settings

One YAML file, named by `--config` or by the environment variable `EUROUTER_CONFIG`, and over it environment
variables: `grpc.port` is `EUROUTER_GRPC__PORT`. Lists and rows are JSON there: `EUROUTER_HINT_FIELDS='["top_k"]'`.
Without either the defaults serve loopback only, with the catalogue that ships.

`eurouter config check` reads all of it, says what is wrong and where, and prints what came of it, never a secret.

The file is looked at every second. Settings marked *yes* below apply at once when it changes; the log names any
other that was changed and needs a restart. A file with a mistake changes nothing, and the log says why. The
environment is read once, at the start. (Kubernetes: mount the ConfigMap as a folder. A `subPath` mount is never
updated.)

Secrets are named, never written: `env:NAME` is an environment variable, `file:PATH` a file. Paths that don't begin
with `/` count from the folder in which the service was started, not from the file that names them. A variable that
is not set is looked for as a file of its name in the folder that the environment variable `EUROUTER_SECRETS_DIR`
names. Files of secrets are read again within a second of a change: so mounted, a provider's key can come, change
and go without a restart.

```yaml
grpc: {host: 0.0.0.0}
http: {host: 0.0.0.0}
floor: {data_residency: [eu], data_collection: deny}
catalog: {path: /etc/eurouter/catalogue.yaml}
key_pepper: env:KEY_PEPPER
keys:
  - {id: 0aB1cD2eF3gH, hash: 64 hexadecimal digits, owner: team-a, name: laptop}
```
"""


def page() -> str:
    """The whole page."""
    return "\n".join((_START, *_sections())) + "\n"


def _sections() -> Iterator[str]:
    known_live = {id(Settings): False}
    for model in models_in(Settings):
        inherited = known_live.get(id(model), False)
        yield f"## {'All settings' if model is Settings else title(model)}\n"
        yield f"{(model.__doc__ or '').strip()}\n"
        yield from _table(model, known_live, inherited=inherited)
        yield ""


def _table(model: type[BaseModel], known_live: dict[int, bool], *, inherited: bool) -> Iterator[str]:
    yield "| key | value | default | without a restart | meaning |"
    yield "|---|---|---|---|---|"
    for name, field in model.model_fields.items():
        live = inherited or is_live(field.json_schema_extra)
        inner = inner_model(field.annotation)
        if inner is not None:
            known_live.setdefault(id(inner), live)
        mark = "see there" if inner is not None and not live else "yes" if live else ""
        cells = (f"`{name}`", value_of(field), default_of(field), mark, field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
