"""What the pages name is there: links, files, tests, make targets, modules, settings and variables."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest

from adapters.documents.problems import model_at
from service.settings import Settings
from tests.support.pages import anchors, links, pages, spans
from tests.support.parts import ROOT

FOLDERS: Final = ("adapters", "bench", "deploy", "docs", "examples", "protos", "service", "tests", "workers")
PAGES: Final = {page.relative_to(ROOT).as_posix(): page for page in pages()}
each_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def paths(page: Path) -> Iterator[str]:
    """The files and folders of this repository that stand between backticks; NAME and * stand for something."""
    for span in spans(page):
        path = span.partition("::")[0]
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", path) and not re.search(r"[A-Z]{4}", path):
            yield path


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@each_page
def test_every_file_that_is_named_is_there(page: Path) -> None:
    missing = [path for path in paths(page) if not (ROOT / path).exists() and not (page.parent / path).exists()]
    # What a run of the bench writes is not in the repository.
    assert not [path for path in missing if not path.startswith("bench/results")]


@each_page
def test_every_test_that_is_named_is_there(page: Path) -> None:
    for span in spans(page):
        path, separator, name = span.partition("::")
        if separator and path.endswith(".py"):
            assert re.search(
                rf"^(?:async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE
            ), span


@each_page
def test_every_make_target_that_is_named_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"^make ([a-z -]+?)(?:$|\s{2,})", page.read_text(encoding="utf-8"), re.MULTILINE)
    named += [span.removeprefix("make ") for span in spans(page) if re.fullmatch(r"make [a-z -]+", span)]
    assert {target for names in named for target in names.split()} <= targets


@each_page
def test_every_module_that_is_to_be_run_is_there(page: Path) -> None:
    for module in re.findall(r"python3? -m ([\w.]+)", page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


@each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    for span in spans(page):
        keys = span.split(".")
        # The Python package grpc is named like a section.
        is_package = keys[0] == "grpc" and len(keys) > 1 and (hasattr(grpc, keys[1]) or keys[1] == "aio")
        if (
            len(keys) > 1
            and keys[0] in Settings.model_fields
            and re.fullmatch(r"[a-z_.]+", span)
            and not is_package
        ):
            owner = model_at(Settings, keys[:-1])
            assert owner is not None, span
            assert keys[-1] in owner.model_fields, span


@each_page
def test_every_variable_that_is_named_is_read_somewhere(page: Path) -> None:
    # The pages' own checks and the lists of what is ignored don't count as readers.
    folders = ("service", "adapters", "bench", "tests/clients", "tests/integration")
    code = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    read = "".join(
        path.read_text(encoding="utf-8") for path in code if path.suffix in (".py", ".go", ".java", ".ts")
    )
    for name in set(re.findall(r"\bEUROUTER_[A-Z_]+[A-Z]\b", page.read_text(encoding="utf-8"))):
        keys = tuple(name.removeprefix("EUROUTER_").lower().split("__"))
        owner = model_at(Settings, keys[:-1])
        assert (owner is not None and keys[-1] in owner.model_fields) or f'"{name}"' in read, name
