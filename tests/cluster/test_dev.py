"""`overlays/dev` as its page has it, on a node: calls through the Service, background work, the pod's rights."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from eurouter.v1 import chat_pb2 as pb
from eurouter.v1.chat_pb2_grpc import ChatServiceStub
from eurouter.v1.content_pb2 import ContentPart

from tests.cluster.inside import FOLDER
from tests.cluster.world import (
    NAMESPACE,
    SERVICE,
    ask,
    pods,
    rights,
    rolled_out,
    service_address,
    state,
    until,
    volume,
)
from tests.deploy.objects import OVERLAYS
from tests.kube.cluster import KUBECTL, Cluster
from tests.support.running import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEY = "eur_demoDEMO0002onlyForTryingThingsOut02"
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def dev(cluster: Cluster) -> Iterator[Cluster]:
    """The overlay, applied as the page says, and gone in the end: production's tests come later."""
    assert not cluster.ask("get", "namespace", NAMESPACE).good
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(volume(Path(os.environ[FOLDER]) / "state")))
    cluster.kubectl("apply", "-k", OVERLAYS / "dev")
    rolled_out(cluster, "eurouter-service")
    yield cluster
    cluster.kubectl("delete", "-k", OVERLAYS / "dev", "--timeout=90s")


def stored(dev: Cluster, response: str) -> str:
    """The state of a response, or what was said in its place."""
    answer = ask(service_address(dev, 8080), f"/v1/responses/{response}", key=KEY)
    return str(answer.json()["status"]) if answer.status == 200 else answer.text


def begun(dev: Cluster) -> str:
    """The id of a background response that was just accepted."""
    body = {"model": "small", "input": "Hello", "background": True, "store": True}
    answer = ask(service_address(dev, 8080), "/v1/responses", body, KEY)
    assert answer.status == 200, answer
    return str(answer.json()["id"])


def test_a_call_over_http_is_answered_at_the_services_address(dev: Cluster) -> None:
    answer = ask(service_address(dev, 8080), "/v1/chat/completions", {"model": "small", "messages": MESSAGES}, KEY)
    assert answer.status == 200, answer
    assert "Hello" in answer.json()["choices"][0]["message"]["content"]


def test_a_call_over_grpc_is_answered_at_the_services_address(dev: Cluster) -> None:
    request = pb.CreateChatCompletionRequest(
        model="small",
        messages=[pb.ChatMessage(role=pb.CHAT_ROLE_USER, content=[ContentPart(text="Hello")])],
    )
    with grpc.insecure_channel(service_address(dev, 50051)) as channel:
        answer = ChatServiceStub(channel).CreateChatCompletion(
            request, metadata=(("authorization", f"Bearer {KEY}"),), timeout=20
        )
    assert "Hello" in str(answer)


def test_a_call_is_answered_through_the_pages_port_forward(dev: Cluster) -> None:
    (port,) = free_ports(1)
    command = [str(KUBECTL), "-n", NAMESPACE, "port-forward", "deployment/eurouter-service", f"{port}:8080"]
    process = subprocess.Popen(command, env={**os.environ, "KUBECONFIG": str(dev.kubeconfig)})
    try:
        body = {"model": "small", "messages": MESSAGES}
        until(
            lambda: ask(f"127.0.0.1:{port}", "/v1/chat/completions", body, KEY).status == 200,
            lambda: ask(f"127.0.0.1:{port}", "/v1/chat/completions", body, KEY),
        )
    finally:
        process.terminate()
        process.wait(10)


def test_a_background_response_is_made_and_outlives_its_pod(dev: Cluster) -> None:
    response = begun(dev)
    until(lambda: stored(dev, response) == "completed", lambda: stored(dev, response))
    (before,) = pods(dev, SERVICE)
    dev.kubectl("-n", NAMESPACE, "delete", "pod", before.name, "--timeout=95s")
    rolled_out(dev, "eurouter-service")
    until(lambda: ask(service_address(dev, 8080), "/v1/models", key=KEY).status == 200, lambda: state(dev))
    assert stored(dev, response) == "completed"
    assert before.name not in [pod.name for pod in pods(dev, SERVICE)]


def test_a_pod_is_nobody_who_may_nothing_and_writes_nowhere_but_in_its_volumes(dev: Cluster) -> None:
    (pod,) = pods(dev, SERVICE)
    found = rights(dev, pod.name)
    assert (found.user, found.group, found.groups) == (10001, 10001, [10001])
    assert (found.capabilities, found.no_new_privileges, found.seccomp) == (0, True, True)
    assert not found.token
    assert found.writes == ["/tmp", "/var/lib/eurouter"]


def test_nothing_was_restarted_meanwhile(dev: Cluster) -> None:
    assert [pod.restarts for pod in pods(dev, SERVICE)] == [0]
