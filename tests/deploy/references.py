"""What objects say of each other must be true: each name, key, port and selector leads to what it means.

An API server checks none of it: it takes a Deployment whose ConfigMap nobody made. Every rule yields one line a
problem, `Kind name: what is wrong`, and nothing where all is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from tests.deploy.objects import Object, Workload, matches, named, of_kind, selected, sources, title, workloads

Secrets = Mapping[str, AbstractSet[str]]
"""The keys of each Secret that whoever installs it makes."""


def problems(objects: Sequence[Object], secrets: Secrets) -> list[str]:
    """Everything that doesn't hold, in the order of the rules."""
    found = workloads(objects)
    lines = [line for rule in _OF_OBJECTS for line in rule(objects, found)]
    return lines + list(_sources(objects, found, secrets)) + list(_credentials(objects, secrets))


def _unique(objects: Sequence[Object], _: Sequence[Workload]) -> Iterator[str]:
    seen = Counter((title(one), one["metadata"].get("namespace")) for one in objects)
    yield from (f"{name}: it stands there {count} times" for (name, _where), count in seen.items() if count > 1)


def _namespaces(objects: Sequence[Object], _: Sequence[Workload]) -> Iterator[str]:
    made = {one["metadata"]["name"] for one in of_kind(objects, "Namespace")}
    for one in objects:
        if one["kind"] != "Namespace" and (where := one["metadata"].get("namespace")) not in made:
            yield f"{title(one)}: no Namespace {where} is made"


def _own_selectors(_: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for one in found:
        # A Job's is the controller's to set.
        if (selector := one.owner["spec"].get("selector")) is None:
            continue
        taken = [other.title for other in selected(selector, found)]
        if taken != [one.title]:
            yield f"{one.title}: its selector selects the pods of {taken or 'nobody'}"


def _accounts(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for one in found:
        account = one.pod.get("serviceAccountName", "default")
        if named(objects, "ServiceAccount", account) is None:
            yield f"{one.title}: no ServiceAccount {account} is made"


def _volumes(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for one in found:
        volumes = {volume["name"]: volume for volume in one.pod.get("volumes", [])}
        mounted = set()
        for container in one.containers():
            mounts = container.get("volumeMounts", [])
            mounted |= {mount["name"] for mount in mounts}
            twice = [path for path, count in Counter(mount["mountPath"] for mount in mounts).items() if count > 1]
            yield from (f"{one.title}: {container['name']} mounts two volumes at {path}" for path in twice)
        yield from (f"{one.title}: no volume {name}, which is mounted" for name in sorted(mounted - set(volumes)))
        yield from (f"{one.title}: nothing mounts the volume {name}" for name in sorted(set(volumes) - mounted))
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and named(objects, "PersistentVolumeClaim", claim) is None:
                yield f"{one.title}: no PersistentVolumeClaim {claim} is made"


def _probes(_: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for one in found:
        for container in one.containers():
            open_ports = {port.get("name") for port in container.get("ports", [])}
            numbers = {port["containerPort"] for port in container.get("ports", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind, {})
                for how in ("httpGet", "tcpSocket", "grpc"):
                    if how in probe and (port := probe[how]["port"]) not in open_ports | numbers:
                        yield f"{one.title}: {container['name']} opens no port {port}, which its {kind} asks"


def _spread(_: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for one in found:
        for constraint in one.pod.get("topologySpreadConstraints", []):
            taken = [other.title for other in selected(constraint.get("labelSelector"), found)]
            if taken != [one.title]:
                where = constraint["topologyKey"]
                yield f"{one.title}: it spreads over {where} by the pods of {taken or 'nobody'}"


def _services(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for service in of_kind(objects, "Service"):
        taken = selected({"matchLabels": service["spec"].get("selector", {})}, found)
        if len(taken) != 1:
            yield f"{title(service)}: it selects the pods of {[one.title for one in taken] or 'nobody'}"
            continue
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if target not in taken[0].ports() | taken[0].numbers():
                yield f"{title(service)}: {taken[0].title} opens no port {target}"


def _budgets(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for budget in of_kind(objects, "PodDisruptionBudget"):
        taken = [one.title for one in selected(budget["spec"].get("selector"), found)]
        if len(taken) != 1:
            yield f"{title(budget)}: it selects the pods of {taken or 'nobody'}"


def _scalers(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    scaled: dict[str, str] = {}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        reference = scaler["spec"]["scaleTargetRef"]
        target = f"{reference.get('kind', 'Deployment')} {reference['name']}"
        workload = next((one for one in found if one.title == target), None)
        if workload is None:
            yield f"{title(scaler)}: no {target} is made"
        elif "replicas" in workload.owner["spec"]:
            yield f"{title(scaler)}: {target} sets its replicas itself, so that each apply undoes the scaling"
        if target in scaled:
            yield f"{title(scaler)}: {scaled[target]} scales {target}, too"
        scaled[target] = title(scaler)
        for trigger in scaler["spec"].get("triggers", []):
            name = trigger.get("authenticationRef", {}).get("name")
            if name is not None and named(objects, "TriggerAuthentication", name) is None:
                yield f"{title(scaler)}: no TriggerAuthentication {name} is made"


def _monitors(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    for monitor in of_kind(objects, "PodMonitor"):
        taken = selected(monitor["spec"]["selector"], found)
        if len(taken) != 1:
            yield f"{title(monitor)}: it selects the pods of {[one.title for one in taken] or 'nobody'}"
            continue
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint.get("port") not in taken[0].ports():
                yield f"{title(monitor)}: {taken[0].title} opens no port {endpoint.get('port')}"


def _policies(objects: Sequence[Object], found: Sequence[Workload]) -> Iterator[str]:
    policies = of_kind(objects, "NetworkPolicy")
    for policy in policies:
        taken = selected(policy["spec"]["podSelector"], found)
        if not taken:
            yield f"{title(policy)}: it selects the pods of nobody"
        for port in (port for rule in policy["spec"].get("ingress", []) for port in rule.get("ports", [])):
            wanted = port.get("port")
            yield from (
                f"{title(policy)}: {one.title} opens no port {wanted}"
                for one in taken
                if wanted is not None and wanted not in one.ports() | one.numbers()
            )
    for one in found:
        for direction in ("Ingress", "Egress"):
            if policies and not any(_restricts(policy, one, direction) for policy in policies):
                yield f"{one.title}: no NetworkPolicy restricts its {direction.lower()}"


def _restricts(policy: Object, one: Workload, direction: str) -> bool:
    spec: dict[str, Any] = policy["spec"]
    return direction in spec.get("policyTypes", ["Ingress"]) and matches(spec["podSelector"], one.labels)


def _sources(objects: Sequence[Object], found: Sequence[Workload], secrets: Secrets) -> Iterator[str]:
    known = {
        ("ConfigMap", one["metadata"]["name"]): {*one.get("data", {}), *one.get("binaryData", {})}
        for one in of_kind(objects, "ConfigMap")
    }
    known |= {("Secret", name): set(keys) for name, keys in secrets.items()}
    known |= {
        ("Secret", one["metadata"]["name"]): {*one.get("data", {}), *one.get("stringData", {})}
        for one in of_kind(objects, "Secret")
    }
    for one in found:
        for source in sources(one):
            keys = known.get((source.kind, source.name))
            if keys is None and not source.optional:
                yield f"{one.title}: no {source.kind} {source.name} is made"
            # A key that is misspelt is no less wrong for being optional: the pod would wait for it for ever.
            missing = sorted({*source.keys} - keys) if keys is not None else []
            yield from (f"{one.title}: {source.kind} {source.name} has no key {key}" for key in missing)


def _credentials(objects: Sequence[Object], secrets: Secrets) -> Iterator[str]:
    for one in of_kind(objects, "TriggerAuthentication"):
        for wanted in one["spec"].get("secretTargetRef", []):
            if wanted["key"] not in secrets.get(wanted["name"], set()):
                yield f"{title(one)}: Secret {wanted['name']} has no key {wanted['key']}"


_OF_OBJECTS: Final[tuple[Callable[[Sequence[Object], Sequence[Workload]], Iterator[str]], ...]] = (
    _unique, _namespaces, _own_selectors, _accounts, _volumes, _probes, _spread, _services, _budgets, _scalers,
    _monitors, _policies,
)  # fmt: skip
