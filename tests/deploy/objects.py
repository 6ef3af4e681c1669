"""What a set of Kubernetes objects says of itself: its workloads, their pods, who selects whom; how to get one.

Generic: nothing here knows this product's names. What has to hold between objects stands in `references.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.parts import ROOT

Object = dict[str, Any]
"""One object as YAML has it."""

KUBECTL: Final = Path(sys.executable).with_name("kubectl")
OVERLAYS: Final = ROOT / "deploy" / "kubernetes" / "overlays"
NAMESPACE: Final = OVERLAYS.parent / "namespace"

_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


@cache
def text(folder: Path) -> str:
    """What kubectl's kustomize makes of a folder, as YAML. Once a process: it takes half a second.

    Raises:
        RuntimeError: it can't be built; the text is what kubectl said.
    """
    ran = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{folder}: {ran.stderr.strip()}")
    return ran.stdout


def rendered(folder: Path) -> list[Object]:
    """The objects of a folder, the caller's to change."""
    return read(text(folder))


def everything(overlay: str) -> list[Object]:
    """An overlay's objects with the namespace that they are in, which some leave to whoever applies them."""
    objects = rendered(OVERLAYS / overlay)
    made = bool(of_kind(objects, "Namespace"))
    return objects if made else [*rendered(NAMESPACE), *objects]


def read(documents: str) -> list[Object]:
    """The objects of a text with one or more YAML documents."""
    return [one for one in yaml.load_all(documents, Loader=yaml.CSafeLoader) if one]


def title(one: Object) -> str:
    """`Kind name`, for messages."""
    return f"{one['kind']} {one['metadata']['name']}"


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object | None:
    """The object of this kind and name, if it is there."""
    return next((one for one in of_kind(objects, kind) if one["metadata"]["name"] == name), None)


@dataclass(frozen=True, slots=True)
class Workload:
    """An object that makes pods, and the template that it makes them of."""

    owner: Object
    template: Object

    @property
    def title(self) -> str:
        """`Kind name`, for messages."""
        return title(self.owner)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its pods."""
        labels: Mapping[str, str] = self.template.get("metadata", {}).get("labels", {})
        return labels

    @property
    def pod(self) -> Object:
        """The `spec` of its pods."""
        spec: Object = self.template["spec"]
        return spec

    def containers(self) -> list[Object]:
        """All of its containers, those that run first among them."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    def ports(self) -> set[str]:
        """The names of the ports that its containers open."""
        return {port["name"] for one in self.containers() for port in one.get("ports", []) if "name" in port}

    def numbers(self) -> set[int]:
        """The numbers of the ports that its containers open."""
        return {port["containerPort"] for one in self.containers() for port in one.get("ports", [])}


def workloads(objects: Sequence[Object]) -> list[Workload]:
    """Every object that makes pods."""
    found = []
    for one in of_kind(objects, *_WORKLOADS):
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
        found.append(Workload(one, spec["template"]))
    return found


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects something with these labels; an empty one selects everything.

    Raises:
        ValueError: an operator that the API doesn't have.
    """
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(one, labels) for one in selector.get("matchExpressions") or [])


def selected(selector: Mapping[str, Any] | None, among: Sequence[Workload]) -> list[Workload]:
    """The workloads whose pods a LabelSelector selects."""
    return [one for one in among if matches(selector, one.labels)]


@dataclass(frozen=True, slots=True)
class Source:
    """A ConfigMap or Secret that pods read, `keys` of it by name; `optional`: a pod starts without it, too."""

    kind: str
    name: str
    keys: tuple[str, ...]
    optional: bool


def sources(one: Workload) -> Iterator[Source]:
    """What its pods read by volumes and by variables."""
    for volume in one.pod.get("volumes", []):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if found := source.get(field):
                    yield _source(kind, found, [item["key"] for item in found.get("items", [])])
    for container in one.containers():
        for variable in container.get("env", []):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if found := variable.get("valueFrom", {}).get(field):
                    yield _source(kind, found, [found["key"]])
        for whole in container.get("envFrom", []):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if found := whole.get(field):
                    yield _source(kind, found, [])


def _source(kind: str, found: Mapping[str, Any], keys: Sequence[str]) -> Source:
    return Source(kind, found.get("secretName") or found["name"], tuple(keys), bool(found.get("optional")))


def _expression(one: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = one["key"], one.get("values") or []
    match one["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise ValueError(f"no such operator: {other}")
