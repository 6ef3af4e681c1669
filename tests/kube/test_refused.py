"""What the server refuses: manifests with one mistake each, and what it says of them.

They show that the acceptance of ours means something. Nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.deploy.objects import Object, named
from tests.kube.conftest import Installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("installed", ["prod"], indirect=True),
]

Change = Callable[[Any], None]


def container(one: Object) -> Object:
    """The first container of a workload."""
    found: Object = one["spec"]["template"]["spec"]["containers"][0]
    return found


def misspelt_probe(one: Object) -> None:
    container(one)["readinesProbe"] = container(one).pop("readinessProbe")


def misspelt_field(one: Object) -> None:
    one["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 60


def port_out_of_range(one: Object) -> None:
    container(one)["ports"][0]["containerPort"] = 70000


def probe_without_an_action(one: Object) -> None:
    del container(one)["livenessProbe"]["httpGet"]


def volume_that_nobody_made(one: Object) -> None:
    container(one)["volumeMounts"][0]["name"] = "setings"


def memory_in_words(one: Object) -> None:
    container(one)["resources"]["limits"]["memory"] = "plenty"


def no_selector(one: Object) -> None:
    del one["spec"]["selector"]


def selector_of_others(one: Object) -> None:
    one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] = "other"


def removed_api(one: Object) -> None:
    one["apiVersion"] = "apps/v1beta1"


def bad_service_port(one: Object) -> None:
    one["spec"]["ports"][0]["port"] = 0


def bad_network(one: Object) -> None:
    one["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"] = "0.0.0.0/33"


def two_bounds(one: Object) -> None:
    one["spec"]["minAvailable"] = 1


def bounds_that_cross(one: Object) -> None:
    one["spec"]["minReplicas"] = one["spec"]["maxReplicas"] + 1


def replicas_in_words(one: Object) -> None:
    one["spec"]["maxReplicaCount"] = "many"


def nothing_to_scale(one: Object) -> None:
    del one["spec"]["scaleTargetRef"]


def trigger_without_a_type(one: Object) -> None:
    del one["spec"]["triggers"][0]["type"]


def misspelt_in_a_defined_kind(one: Object) -> None:
    one["spec"]["maxReplicasCount"] = 3


def interval_in_words(one: Object) -> None:
    one["spec"]["podMetricsEndpoints"][0]["interval"] = "often"


def scheme_that_is_none(one: Object) -> None:
    one["spec"]["podMetricsEndpoints"][0]["scheme"] = "gopher"


def rule_without_an_expression(one: Object) -> None:
    del one["spec"]["groups"][0]["rules"][0]["expr"]


SERVICE = ("Deployment", "eurouter-service")
SCALED = ("ScaledObject", "eurouter-worker")
MONITOR = ("PodMonitor", "eurouter-service")

CASES: Final[list[tuple[tuple[str, str], Change, str]]] = [
    (SERVICE, misspelt_probe, "readinesProbe"),
    (SERVICE, misspelt_field, "terminationGracePeriodSecond"),
    (SERVICE, port_out_of_range, "spec.template.spec.containers[0].ports[0].containerPort"),
    (SERVICE, probe_without_an_action, "spec.template.spec.containers[0].livenessProbe"),
    (SERVICE, volume_that_nobody_made, 'containers[0].volumeMounts[0].name: Not found: "setings"'),
    (SERVICE, memory_in_words, "quantities must match"),
    (SERVICE, no_selector, "spec.selector"),
    (SERVICE, selector_of_others, "`selector` does not match template `labels`"),
    (SERVICE, removed_api, 'no matches for kind "Deployment" in version "apps/v1beta1"'),
    (("Service", "eurouter"), bad_service_port, "spec.ports[0].port"),
    (("NetworkPolicy", "eurouter-providers"), bad_network, "spec.egress[0].to[0].ipBlock.cidr"),
    (("PodDisruptionBudget", "eurouter-service"), two_bounds, "minAvailable and maxUnavailable cannot"),
    (("HorizontalPodAutoscaler", "eurouter-service"), bounds_that_cross, "spec.maxReplicas"),
    (SCALED, replicas_in_words, "spec.maxReplicaCount"),
    (SCALED, nothing_to_scale, "spec.scaleTargetRef: Required value"),
    (SCALED, trigger_without_a_type, "spec.triggers[0].type: Required value"),
    (SCALED, misspelt_in_a_defined_kind, "maxReplicasCount"),
    (MONITOR, interval_in_words, "spec.podMetricsEndpoints[0].interval"),
    (MONITOR, scheme_that_is_none, "spec.podMetricsEndpoints[0].scheme"),
    (("PrometheusRule", "eurouter"), rule_without_an_expression, "rules[0].expr: Required value"),
]  # fmt: skip


@pytest.mark.parametrize(("of", "change", "said"), CASES, ids=[change.__name__ for _, change, _ in CASES])
def test_the_server_refuses_a_mistake_and_names_it(
    installed: Installed, of: tuple[str, str], change: Change, said: str
) -> None:
    one = named(installed.objects(), *of)
    assert one is not None
    assert installed.cluster.apply([one], "--dry-run=server").good
    change(one)
    answer = installed.cluster.apply([one], "--dry-run=server")
    assert not answer.good
    assert said in answer.err
