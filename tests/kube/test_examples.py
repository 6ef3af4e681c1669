"""The objects in the pages on Kubernetes are what a server takes, too."""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest
import yaml

from tests.deploy.objects import NAMESPACE, OVERLAYS, Object, everything, named, read, rendered, title
from tests.kube.cluster import Cluster, Said
from tests.support.parts import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PAGES: Final = ROOT / "docs" / "kubernetes"
_FENCE: Final = re.compile(r"^(?P<indent> *)```yaml\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


def of_a_server(one: object) -> bool:
    """Whether it is an object for a server: kustomize's own kinds are files for kubectl."""
    return isinstance(one, dict) and "apiVersion" in one and "kustomize" not in str(one["apiVersion"])


def examples(text: str) -> list[Object]:
    """Every object that a page shows."""
    fences = _FENCE.finditer(text)
    return [one for fence in fences for one in read(dedent(fence["text"])) if of_a_server(one)]


def patched(one: Object, folder: Path) -> list[Object]:
    """What production's overlay becomes with an object of the page as a patch."""
    folder.mkdir()
    (folder / "patch.yaml").write_text(yaml.safe_dump(one), encoding="utf-8")
    resources = [os.path.relpath(OVERLAYS / "prod", folder.resolve())]
    whole = {"resources": resources, "patches": [{"path": "patch.yaml"}]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    return rendered(folder)


def asked(cluster: Cluster, one: Object, folder: Path) -> Said:
    """What a server says to an object of a page. One that production has already is taken for a patch of it."""
    one["metadata"].setdefault("namespace", "eurouter")
    existing = named(everything("prod"), one["kind"], one["metadata"]["name"])
    return cluster.apply([one] if existing is None else patched(one, folder), "--dry-run=server")


def test_every_object_in_the_pages_is_accepted(empty: Cluster, tmp_path: Path) -> None:
    empty.kubectl("apply", "-k", NAMESPACE)
    found = [
        (page.name, one)
        for page in sorted(PAGES.glob("*.md"))
        for one in examples(page.read_text(encoding="utf-8"))
    ]
    assert found
    refused = {}
    for number, (page, one) in enumerate(found):
        said = asked(empty, one, tmp_path / str(number))
        if not said.good:
            refused[f"{page}: {title(one)}"] = said.err
    assert not refused


def test_a_mistake_in_a_pages_object_is_found(empty: Cluster, tmp_path: Path) -> None:
    empty.kubectl("apply", "-k", NAMESPACE)
    page = (
        "1. A new one:\n\n   ```yaml\n   apiVersion: v1\n   kind: Service\n"
        "   metadata: {name: a}\n   porst: 1\n   ```\n\n"
        "```yaml\n# a patch\napiVersion: apps/v1\nkind: Deployment\n"
        "metadata: {name: eurouter-service}\nspec: {minReadySecond: 3}\n```\n"
    )
    service, deployment = examples(page)
    assert "porst" in asked(empty, service, tmp_path / "0").err
    assert "minReadySecond" in asked(empty, deployment, tmp_path / "1").err
