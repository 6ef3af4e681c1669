"""Whatever an object of the overlays refers to is there, and each rule about that finds what breaks it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import pytest

from tests.deploy.objects import OVERLAYS, Object, everything, read, title
from tests.deploy.references import Secrets, problems


def secrets() -> Secrets:
    """The keys that an installation's operator is told to make."""
    example = (OVERLAYS / "prod" / "secrets.example.yaml").read_text(encoding="utf-8")
    return {one["metadata"]["name"]: set(one["stringData"]) for one in read(example)}


@pytest.fixture(scope="module")
def prod() -> list[Object]:
    """Production's objects: shared, not to be changed."""
    return everything("prod")


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_whatever_an_object_refers_to_is_there(overlay: str) -> None:
    assert not problems(everything(overlay), secrets())


def test_every_secret_that_is_told_to_make_is_read_by_somebody(prod: list[Object]) -> None:
    told = set(secrets())
    assert told
    assert not [name for name in told if not any(f"'{name}'" in str(one) for one in prod)]


REMOVED: Final = object()
"""In place of a value: the key goes."""

POD: Final = "spec template spec"
CONTAINER: Final = f"{POD} containers 0"
LABELS: Final = "spec template metadata labels"
COMPONENT: Final = "app.kubernetes.io/component"

Broken = tuple[str, str, object, str]
"""An object, a path in it (keys with a space between), the value that is put there, and what has to be said."""

OF_DEPLOYMENTS: Final[list[Broken]] = [
    ("Deployment eurouter-service", f"{POD} serviceAccountName", "x", "no ServiceAccount x is made"),
    ("Deployment eurouter-service", f"{POD} volumes 0 name", "x", "no volume settings, which is mounted"),
    ("Deployment eurouter-service", f"{POD} volumes 0 name", "x", "nothing mounts the volume x"),
    ("Deployment eurouter-service", f"{CONTAINER} volumeMounts 0 mountPath", "/tmp", "mounts two volumes at /tmp"),
    ("Deployment eurouter-service", f"{CONTAINER} livenessProbe httpGet port", "x",
     "eurouter opens no port x, which its livenessProbe asks"),
    ("Deployment eurouter-service", f"{CONTAINER} startupProbe httpGet port", 9,
     "eurouter opens no port 9, which its startupProbe asks"),
    ("Deployment eurouter-worker", f"spec selector matchLabels {COMPONENT}", REMOVED,
     "Deployment eurouter-worker: its selector selects the pods of ['Deployment eurouter-service'"),
    ("Deployment eurouter-worker", f"{LABELS} {COMPONENT}", "x",
     "Deployment eurouter-worker: its selector selects the pods of nobody"),
    ("Deployment eurouter-service",
     f"{POD} topologySpreadConstraints 0 labelSelector matchLabels {COMPONENT}", "worker",
     "it spreads over topology.kubernetes.io/zone by the pods of ['Deployment eurouter-worker']"),
    ("Deployment eurouter-service", "spec replicas", 2, "HorizontalPodAutoscaler eurouter-service: Deployment"),
    ("Deployment eurouter-service", f"{POD} volumes 0 configMap items", [{"key": "x.yaml", "path": "x.yaml"}],
     "ConfigMap eurouter-settings has no key x.yaml"),
    ("Deployment eurouter-service", f"{POD} volumes 0", {"name": "settings", "secret": {"secretName": "x"}},
     "no Secret x is made"),
    ("Deployment eurouter-service", f"{POD} volumes 0",
     {"name": "settings", "persistentVolumeClaim": {"claimName": "x"}}, "no PersistentVolumeClaim x is made"),
    ("Deployment eurouter-service", f"{CONTAINER} env 0",
     {"name": "X", "valueFrom": {"secretKeyRef": {"name": "eurouter-secrets", "key": "y"}}},
     "Secret eurouter-secrets has no key y"),
    ("Deployment eurouter-service", f"{CONTAINER} envFrom", [{"configMapRef": {"name": "x"}}],
     "no ConfigMap x is made"),
]  # fmt: skip

OF_OTHERS: Final[list[Broken]] = [
    ("Namespace eurouter", "metadata name", "other", "Service eurouter: no Namespace eurouter is made"),
    ("Service eurouter-headless", "metadata name", "eurouter", "Service eurouter: it stands there 2 times"),
    ("ConfigMap eurouter-settings", "metadata name", "x", "no ConfigMap eurouter-settings is made"),
    ("Service eurouter", f"spec selector {COMPONENT}", REMOVED, "Service eurouter: it selects the pods of ['Depl"),
    ("Service eurouter", "spec ports 0 targetPort", "x", "Deployment eurouter-service opens no port x"),
    ("PodDisruptionBudget eurouter-service", f"spec selector matchLabels {COMPONENT}", "x",
     "PodDisruptionBudget eurouter-service: it selects the pods of nobody"),
    ("HorizontalPodAutoscaler eurouter-service", "spec scaleTargetRef name", "x", "no Deployment x is made"),
    ("ScaledObject eurouter-worker", "spec scaleTargetRef name", "eurouter-service",
     "HorizontalPodAutoscaler eurouter-service scales Deployment eurouter-service, too"),
    ("ScaledObject eurouter-worker", "spec triggers 0 authenticationRef name", "x",
     "no TriggerAuthentication x is made"),
    ("TriggerAuthentication eurouter-worker-database", "spec secretTargetRef 0 key", "x",
     "Secret eurouter-keda has no key x"),
    ("PodMonitor eurouter-worker", "spec podMetricsEndpoints 0 port", "x", "eurouter-worker opens no port x"),
    ("PodMonitor eurouter-worker", "spec selector", {}, "PodMonitor eurouter-worker: it selects the pods of ['"),
    ("NetworkPolicy eurouter-callers", "spec ingress 0 ports 0 port", "x", "eurouter-service opens no port x"),
    ("NetworkPolicy eurouter-callers", "spec podSelector matchLabels x", "y",
     "NetworkPolicy eurouter-callers: it selects the pods of nobody"),
    ("NetworkPolicy eurouter-default-deny", f"spec podSelector matchLabels {COMPONENT}", "worker",
     "no NetworkPolicy restricts its ingress"),
]  # fmt: skip


def put(one: Any, path: str, value: object) -> None:
    """Change the value at a path."""
    *before, last = [int(key) if key.isdecimal() else key for key in path.split()]
    for key in before:
        one = one[key]
    if value is REMOVED:
        del one[last]
    else:
        one[last] = value


@pytest.mark.parametrize("broken", [*OF_DEPLOYMENTS, *OF_OTHERS], ids=lambda one: f"{one[0]}: {one[1]}")
def test_a_reference_that_leads_nowhere_is_found(prod: list[Object], broken: Broken) -> None:
    name, path, value, said = broken
    objects = deepcopy(prod)
    put(next(one for one in objects if title(one) == name), path, value)
    found = problems(objects, secrets())
    assert any(said in line for line in found), found
