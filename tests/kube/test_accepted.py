"""What the overlays render to is taken as it stands, by server-side apply with strict validation."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import release
from tests.deploy.objects import NAMESPACE, OVERLAYS, Object, everything, named, rendered, title
from tests.kube.cluster import Cluster, running
from tests.kube.conftest import Installed, needs_a_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OLDEST_BEHAVIOUR = "1.33"
"""The oldest version that kube-apiserver 1.36 can behave as (--emulated-version)."""

prod_only = pytest.mark.parametrize("installed", ["prod"], indirect=True)


def stored(cluster: Cluster, one: Object) -> Object:
    """The object as the server has it."""
    kind = f"{one['kind']}.{group}" if (group := one["apiVersion"].rpartition("/")[0]) else one["kind"]
    where = ["--namespace", one["metadata"]["namespace"]] if "namespace" in one["metadata"] else []
    found: Object = json.loads(cluster.kubectl("get", kind, one["metadata"]["name"], *where, "-o", "json"))
    return found


def lost(sent: object, kept: object, path: str = "") -> list[str]:
    """The fields that were sent and not kept: a server drops without a word what it knows and has switched off."""
    match sent, kept:
        case dict(), dict():
            return [
                field
                for key, value in sent.items()
                # "No" is not written down by a server: it is what is meant without the field.
                if value is not None and value is not False
                for field in (lost(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"])
            ]
        case list(), list() if len(sent) == len(kept):
            return [field for n, one in enumerate(sent) for field in lost(one, kept[n], f"{path}[{n}]")]
        case _:
            return [] if sent == kept else [path]


def migration(version: str) -> str:
    """The name of the Job that brings a database to this version."""
    return f"eurouter-migrate-{version.replace('.', '-')}"


def next_release() -> str:
    """The patch release after this one."""
    before, _, patch = release().rpartition(".")
    return f"{before}.{int(patch) + 1}"


def with_another_image(objects: list[Object]) -> Object:
    """The migration Job among them, which gets another image."""
    job = named(objects, "Job", migration(release()))
    assert job is not None
    job["spec"]["template"]["spec"]["containers"][0]["image"] = f"eurouter:{next_release()}"
    return job


def contents(installed: Installed) -> dict[str, Object]:
    """What the server has of each object but its version: a new claim the server itself writes twice."""
    found = {title(one): stored(installed.cluster, one) for one in installed.objects()}
    for one in found.values():
        del one["metadata"]["resourceVersion"]
    return found


def test_an_overlay_is_accepted_without_an_error_or_a_warning(installed: Installed) -> None:
    assert (installed.said.code, installed.said.err) == (0, "")
    assert installed.said.out.count(" serverside-applied\n") == len(installed.objects()) > 10


def test_a_second_apply_changes_nothing(installed: Installed) -> None:
    before = contents(installed)
    again = installed.cluster.apply(installed.objects())
    assert (again.code, again.err) == (0, "")
    assert contents(installed) == before


def test_every_field_is_kept_as_it_was_written(installed: Installed) -> None:
    for one in installed.objects():
        # A Secret's text is kept as bytes.
        if "stringData" not in one:
            assert not lost(one, stored(installed.cluster, one)), title(one)


@prod_only
def test_an_apply_leaves_the_number_of_pods_to_the_autoscaler(installed: Installed) -> None:
    service = named(installed.objects(), "Deployment", "eurouter-service")
    assert service is not None
    installed.cluster.kubectl("scale", "--namespace=eurouter", "deployment/eurouter-service", "--replicas=7")
    assert installed.cluster.apply([service]).good
    assert stored(installed.cluster, service)["spec"]["replicas"] == 7


def test_a_comparison_finds_no_difference_after_an_apply(installed: Installed) -> None:
    folder = OVERLAYS / installed.overlay
    said = installed.cluster.ask("diff", "--server-side", "-k", folder)
    assert (said.code, said.out) == (0, "")


@prod_only
def test_a_comparison_finds_what_somebody_changed(installed: Installed) -> None:
    deployment = named(installed.objects(), "Deployment", "eurouter-worker")
    assert deployment is not None
    deployment["spec"]["minReadySeconds"] = 77
    said = installed.cluster.ask("diff", "--server-side", "-f", "-", stdin=json.dumps(deployment))
    assert said.code == 1
    assert "minReadySeconds: 77" in said.out


@prod_only
def test_the_next_version_is_taken_over_this_one(installed: Installed) -> None:
    # Labels, images and the Job's name: a version in a selector would be refused, for selectors never change.
    text, this, after = json.dumps(installed.objects()), release(), next_release()
    text = text.replace(this, after).replace(migration(this), migration(after))
    said = installed.cluster.apply(json.loads(text), "--dry-run=server")
    assert (said.code, said.err) == (0, "")
    assert f"job.batch/{migration(after)} serverside-applied" in said.out


@prod_only
def test_a_migration_of_the_same_name_with_another_image_is_refused_and_nothing_else_is(
    installed: Installed,
) -> None:
    objects = installed.objects()
    job = with_another_image(objects)
    said = installed.cluster.apply(objects, "--dry-run=server")
    assert said.code != 0
    assert f'The Job "{job["metadata"]["name"]}" is invalid: spec.template' in said.err
    assert said.err.rstrip().endswith("field is immutable")
    assert said.out.count("serverside-applied") == len(objects) - 1


@prod_only
def test_once_its_job_is_deleted_a_migration_with_another_image_is_accepted(installed: Installed) -> None:
    objects = installed.objects()
    job = with_another_image(objects)
    try:
        installed.cluster.kubectl("delete", "job", "--namespace=eurouter", job["metadata"]["name"])
        assert installed.cluster.apply([job], "--dry-run=server").good
    finally:
        assert installed.cluster.apply(installed.objects()).good


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_what_was_applied_by_the_pages_command_can_be_deleted_again(empty: Cluster, overlay: str) -> None:
    empty.kubectl("apply", "-k", NAMESPACE)
    empty.kubectl("create", "secret", "generic", "mine", "--namespace=eurouter", "--from-literal=a=b")
    # Client-side apply keeps each object whole in an annotation, which may have 256 KiB.
    empty.kubectl("apply", "--validate=strict", "-k", OVERLAYS / overlay)
    # Without waiting: what finishes a deletion (of a namespace, of a claim) is a controller, and none runs here.
    empty.kubectl("delete", "-k", OVERLAYS / overlay, "--wait=false")
    going = [one for one in everything(overlay) if one["kind"] not in ("Namespace", "PersistentVolumeClaim")]
    kinds = ",".join(
        sorted({f"{one['kind']}.{one['apiVersion'].rpartition('/')[0]}".rstrip(".") for one in going})
    )
    left = empty.kubectl("get", kinds, "--namespace=eurouter", "-o", "name").split()
    assert left == (["secret/mine"] if "Secret" in kinds else [])


def test_without_the_operators_components_a_server_that_lacks_them_accepts_the_rest(tmp_path: Path) -> None:
    needs_a_server()
    overlay, state = tmp_path / "overlay", tmp_path / "state"
    overlay.mkdir()
    state.mkdir()
    tree = Path(os.path.relpath(OVERLAYS.parent, overlay.resolve()))
    components = [str(tree / "components" / name) for name in ("worker", "migration", "hpa")]
    whole = {"resources": [str(tree / "base")], "components": components}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    with running(state, others_kinds=False) as cluster:
        cluster.kubectl("apply", "-k", NAMESPACE)
        whole_prod = cluster.apply(rendered(OVERLAYS / "prod"), "--dry-run=server")
        assert 'no matches for kind "ScaledObject"' in whole_prod.err
        said = cluster.apply(rendered(overlay))
        assert (said.code, said.err) == (0, "")


def test_an_older_server_accepts_what_production_runs(tmp_path: Path) -> None:
    needs_a_server()
    with running(tmp_path, f"--emulated-version={OLDEST_BEHAVIOUR}") as cluster:
        version = json.loads(cluster.kubectl("get", "--raw=/version"))
        assert f"{version['emulationMajor']}.{version['emulationMinor']}" == OLDEST_BEHAVIOUR
        said = cluster.apply(everything("prod"))
        assert (said.code, said.err) == (0, "")
        for one in everything("prod"):
            assert not lost(one, stored(cluster, one)), title(one)
