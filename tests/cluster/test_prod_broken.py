"""Rollouts that can't work, on a node: the old pods go on serving, and the new ones say why they don't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.prod import DEPLOYMENTS, Prod
from tests.cluster.world import NAMESPACE, SERVICE, Pod, readiness, rolled_out, state, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@contextmanager
def rollout(prod: Prod) -> Iterator[list[Pod]]:
    """A restart of the service's pods; the list has the old ones. In the end it has to have come through."""
    old = prod.pods()[SERVICE]
    prod.restart("eurouter-service")
    try:
        yield old
    finally:
        rolled_out(prod.cluster, *DEPLOYMENTS)
        until(lambda: len(prod.pods()[SERVICE]) == 2, lambda: state(prod.cluster))
        prod.until_settled()


def newest(prod: Prod, old: list[Pod]) -> Pod | None:
    """The pod of the new revision, once it has an address."""
    names = {pod.name for pod in old}
    return next((pod for pod in prod.pods()[SERVICE] if pod.name not in names and pod.address), None)


def says(prod: Prod, old: list[Pod], words: str) -> bool:
    """Whether the new pod says that on its admin port."""
    pod = newest(prod, old)
    return pod is not None and words in readiness(pod, SERVICE).text


def assert_the_old_serve(prod: Prod, old: list[Pod]) -> None:
    """They are there, ready, never restarted, and calls are answered."""
    now = {pod.name: pod for pod in prod.pods()[SERVICE]}
    assert [(now[pod.name].ready, now[pod.name].restarts) for pod in old] == [(True, 0)] * 2
    assert [prod.chat().status for _ in range(10)] == [200] * 10


def waiting(prod: Prod, old: list[Pod], words: str) -> None:
    """Checks that a new pod waits with these words, that it is not restarted, and that its log has them."""
    until(lambda: says(prod, old, words), lambda: state(prod.cluster))
    pod = newest(prod, old)
    assert pod is not None
    assert (pod.ready, pod.restarts, pod.reason) == (False, 0, "")
    assert words in prod.cluster.kubectl("-n", NAMESPACE, "logs", pod.name)
    assert_the_old_serve(prod, old)


def test_new_pods_with_a_wrong_database_wait_and_go_on_by_themselves_once_it_is_right(prod: Prod) -> None:
    right = prod.outside.secrets()["database-url"]
    prod.patch_secret(database_url=right.replace("postgresql.postgresql", "nowhere.postgresql"))
    with rollout(prod) as old:
        try:
            waiting(prod, old, "postgresql://nowhere.postgresql.svc.cluster.local:5432/eurouter: can't be reached")
        finally:
            prod.patch_secret(database_url=right)
    assert [pod.restarts for pod in prod.pods()[SERVICE]] == [0, 0]


def test_new_pods_without_a_secret_wait_and_go_on_by_themselves_once_it_is_there(prod: Prod) -> None:
    pepper = prod.outside.secrets()["key-pepper"]
    prod.patch_secret(key_pepper=None)
    with rollout(prod) as old:
        try:
            waiting(prod, old, "put it there (in Kubernetes: the Secret's key 'key-pepper')")
            told = "degraded: secrets: key_pepper: "
            until(lambda: all(told in readiness(pod, SERVICE).text for pod in old), lambda: state(prod.cluster))
        finally:
            prod.patch_secret(key_pepper=pepper)
    assert [pod.restarts for pod in prod.pods()[SERVICE]] == [0, 0]


def last_words(prod: Prod, pod: str) -> str:
    """What the program wrote at the end of its last life, as `kubectl describe pod` has it."""
    text = prod.cluster.kubectl("-n", NAMESPACE, "get", "pod", pod, "-o", "json")
    (status,) = json.loads(text)["status"]["containerStatuses"]
    found = [status[when].get("terminated", {}).get("message", "") for when in ("state", "lastState")]
    return "\n".join(found)


def test_new_pods_with_a_mistake_in_the_settings_end_with_its_name_and_the_old_ones_serve(prod: Prod) -> None:
    prod.settings["drain"] = {"pause_second": 3}
    prod.apply()
    with rollout(prod) as old:
        try:
            until(
                lambda: (pod := newest(prod, old)) and "drain.pause_second" in last_words(prod, pod.name),
                lambda: state(prod.cluster),
                90,
            )
            assert_the_old_serve(prod, old)
            told = "degraded: settings: "
            until(lambda: all(told in readiness(pod, SERVICE).text for pod in old), lambda: state(prod.cluster))
        finally:
            del prod.settings["drain"]
            prod.apply()
