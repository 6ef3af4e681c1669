"""The catalogue as one YAML file: its schema, how it becomes domain rows, how it is reloaded.

The file's format is described in docs/catalogue.md, which `python -m adapters.catalog.document` writes.
"""

from adapters.catalog.discover import Discovered, Get, discover
from adapters.catalog.load import DEFAULT_CATALOG, Dialects, build_catalog, old_facts, read_catalog
from adapters.catalog.watch import FileCatalog

__all__ = [
    "DEFAULT_CATALOG",
    "Dialects",
    "Discovered",
    "FileCatalog",
    "Get",
    "build_catalog",
    "discover",
    "old_facts",
    "read_catalog",
]
