"""What the overlays render to is valid. No server is needed.

Schemas are those of Kubernetes itself for the oldest and the newest version that we name. Kinds that others define
(KEDA's, the Prometheus operator's) have none here: `make kube-test` asks a server that knows them.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Final

import kubernetes_validate
import pytest

from tests.deploy.objects import Object, everything, named, title
from tests.kube import prepare
from tests.support.parts import ROOT

OLDEST: Final = "1.31"
NEWEST: Final = ".".join(kubernetes_validate.latest_version().split(".")[:2])
OF_OTHERS: Final = ("keda.sh/", "monitoring.coreos.com/")


@pytest.fixture(scope="module")
def service() -> Object:
    """The service's Deployment in production: shared, not to be changed."""
    found = named(everything("prod"), "Deployment", "eurouter-service")
    assert found is not None
    return found


def invalid(one: Object, version: str) -> str | None:
    """What a version's schema says against an object, with the field's path."""
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.ValidationError as wrong:
        return f"{title(one)}: {'.'.join(map(str, wrong.path))}: {wrong.message}"
    return None


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_every_object_is_valid_in_the_oldest_and_the_newest_version(overlay: str, version: str) -> None:
    ours = [one for one in everything(overlay) if not one["apiVersion"].startswith(OF_OTHERS)]
    assert len(ours) > 10
    assert not [said for one in ours if (said := invalid(one, version))]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_a_misspelt_field_is_not_valid(service: Object, version: str) -> None:
    one = deepcopy(service)
    container = one["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")
    assert "readinesProbe" in str(invalid(one, version))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_a_number_in_words_is_not_valid(service: Object, version: str) -> None:
    one = deepcopy(service)
    one["spec"]["minReadySeconds"] = "ten"
    assert "spec.minReadySeconds" in str(invalid(one, version))


def test_the_page_names_the_versions_that_are_checked() -> None:
    page = (ROOT / "docs" / "kubernetes" / "checks.md").read_text(encoding="utf-8")
    assert f"strictly, for {OLDEST} and {NEWEST};" in page
    servers = [f"{one.name} {one.version().removeprefix('v')}" for one in (prepare.API_SERVER, prepare.ETCD)]
    assert f"builds {' and '.join(servers)} from" in page


def test_the_page_on_installing_names_the_oldest_version_that_is_checked() -> None:
    page = (ROOT / "docs" / "kubernetes" / "README.md").read_text(encoding="utf-8")
    assert f"for Kubernetes {OLDEST} or newer" in " ".join(page.split())
