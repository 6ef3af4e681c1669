"""`overlays/prod`, installed as its page says: an overlay of its own, Secrets, a database that comes late, a key.

Each step waits until pods say what they lack; what they said is kept for the tests.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster import outside
from tests.cluster.inside import FOLDER
from tests.cluster.outside import PROVIDER, Outside
from tests.cluster.world import (
    NAMESPACE,
    SERVICE,
    WORKER,
    Answer,
    Pod,
    ask,
    pods,
    readiness,
    rolled_out,
    service_address,
    state,
    until,
)
from tests.deploy.manifests import release
from tests.deploy.objects import NAMESPACE as NAMESPACE_FOLDER
from tests.deploy.objects import OVERLAYS
from tests.kube.cluster import Cluster

DEPLOYMENTS: Final = ("eurouter-service", "eurouter-worker")
MIGRATION: Final = f"eurouter-migrate-{release().replace('.', '-')}"
SECOND_KEY: Final = "SECOND_API_KEY"
"""The key of a provider that is not there at first."""

_REGIONS: Final = {"value": ["de"], "source": "the tests", "verified_on": "2026-11-22"}
_NOT_TRAINED: Final = {"value": False, "source": "the tests", "verified_on": "2026-11-22"}


def _catalogue() -> dict[str, Any]:
    facts = {"regions": _REGIONS, "trains_on_data": _NOT_TRAINED}
    first = {"dialect": "openai_chat", "base_url": f"{PROVIDER}/v1", "facts": facts, "simulator": True}
    price = {"prompt": 0, "completion": 0}
    models = {
        "small": ("first", "sim-echo"), "slow": ("first", "sim-paced-50ms-64"), "other": ("second", "sim-echo"),
        "long": ("first", "sim-paced-250ms-64"),
    }  # fmt: skip
    return {
        "providers": [
            {"slug": "first", **first},
            {"slug": "second", **first, "auth": {"secret": f"env:{SECOND_KEY}"}},
        ],
        "models": [
            {"id": f"test/{name}", "endpoints": [{"provider": provider, "model": model, "price": price}]}
            for name, (provider, model) in models.items()
        ],
    }


@dataclass
class Prod:
    """What is installed. `said`: what /readyz of each pod answered at each step, by step and pod."""

    cluster: Cluster
    outside: Outside
    folder: Path
    settings: dict[str, Any]
    key: str = ""
    said: dict[str, dict[str, Answer]] = field(default_factory=dict)
    waited: list[Pod] = field(default_factory=list)
    """The pods as they were before the database had a schema."""
    key_seconds: float = 0.0

    def apply(self) -> None:
        """Applies the installation's overlay with the settings as they are now."""
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        said = self.cluster.ask("apply", "--server-side", "--force-conflicts", "-k", self.folder)
        assert said.good, said.err

    def patch_secret(self, **values: str | None) -> None:
        """Changes keys of the Secret, underscores for dashes; None takes one away."""
        data = {
            name if name.isupper() else name.replace("_", "-"): value and base64.b64encode(value.encode()).decode()
            for name, value in values.items()
        }
        patch = json.dumps({"data": data})
        self.cluster.kubectl("-n", NAMESPACE, "patch", "secret", "eurouter-secrets", "--type=merge", "-p", patch)

    def restart(self, *names: str) -> None:
        """Begins a rollout, as the pages say."""
        self.cluster.kubectl("-n", NAMESPACE, "rollout", "restart", *(f"deployment/{name}" for name in names))

    def call(self, path: str, body: object = None) -> Answer:
        """A call through the Service with the installation's key."""
        return ask(service_address(self.cluster, 8080), path, body, self.key)

    def chat(self, model: str = "test/small") -> Answer:
        """A call of a model."""
        messages = [{"role": "user", "content": "Hello"}]
        return self.call("/v1/chat/completions", {"model": model, "messages": messages})

    def all_answer(self, model: str) -> bool:
        """Whether each service pod answers a call of it: what changes reaches one after the other."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        asked = [
            ask(f"{pod.address}:8080", "/v1/chat/completions", body, self.key) for pod in self.pods()[SERVICE]
        ]
        return len(asked) > 0 and all(one.status == 200 for one in asked)

    def job(self, model: str = "test/small") -> Answer:
        """A background response, accepted."""
        return self.call("/v1/responses", {"model": model, "input": "Hello", "background": True})

    def status(self, response: str) -> str:
        """The state of a response, or what was said in its place."""
        answer = self.call(f"/v1/responses/{response}")
        return str(answer.json()["status"]) if answer.status == 200 else answer.text

    def pods(self) -> dict[str, list[Pod]]:
        """The pods of both kinds, but those that are going."""
        return {kind: [pod for pod in pods(self.cluster, kind) if not pod.going] for kind in (SERVICE, WORKER)}

    def until_settled(self) -> None:
        """Waits until no pod is going any more."""

        def going() -> list[str]:
            return [pod.name for kind in (SERVICE, WORKER) for pod in pods(self.cluster, kind) if pod.going]

        until(lambda: not going(), going, 100)

    def until_all_say(self, step: str, words: str) -> None:
        """Waits until every pod of both kinds is not ready and says so with these words."""

        def all_do() -> bool:
            found = {pod.name: readiness(pod, kind) for kind, some in self.pods().items() for pod in some}
            self.said[step] = found
            return len(found) >= 3 and all(words in one.text for one in found.values())

        until(all_do, lambda: f"{self.said[step]}\n{state(self.cluster)}", 90)


def _overlay(folder: Path) -> None:
    """Files of an installation, as docs/kubernetes/README.md has them; fewer cores, for this node has two."""
    folder.mkdir()
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(_catalogue()), encoding="utf-8")
    container = {"name": "eurouter", "resources": {"requests": {"cpu": "100m"}}}
    patch = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "any"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }  # fmt: skip
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": NAMESPACE,
            "resources": [os.path.relpath(OVERLAYS / "prod", folder.resolve())],
            "configMapGenerator": [{
                "name": "eurouter-settings", "behavior": "merge", "files": ["settings.yaml", "catalogue.yaml"],
                "options": {"disableNameSuffixHash": True},
            }],
            "patches": [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(patch)}],
        }),
        encoding="utf-8",
    )  # fmt: skip


def _suspended(cluster: Cluster, yes: bool) -> None:
    patch = json.dumps({"spec": {"suspend": yes}})
    cluster.kubectl("-n", NAMESPACE, "patch", "job", MIGRATION, "--type=merge", "-p", patch)


@contextmanager
def installed(cluster: Cluster) -> Iterator[Prod]:
    """Applies it and brings what it waits for, one thing after the other; gone in the end."""
    folder = Path(os.environ[FOLDER]) / "prod"
    folder.mkdir()
    settings = yaml.safe_load((OVERLAYS / "prod" / "settings.yaml").read_text(encoding="utf-8"))
    settings["catalog"] = {"path": "/etc/eurouter/settings/catalogue.yaml"}
    settings["kafka"]["topics"] = "create"
    with outside.running(folder) as servers:
        servers.announce(cluster)
        made = Prod(cluster, servers, folder / "platform", settings)
        _overlay(made.folder)
        cluster.kubectl("apply", "-k", NAMESPACE_FOLDER)
        made.apply()
        made.until_all_say("without secrets", "not ready: secrets: ")
        literals = [f"--from-literal={name}={value}" for name, value in servers.secrets().items()]
        cluster.kubectl("-n", NAMESPACE, "create", "secret", "generic", "eurouter-secrets", *literals)
        made.until_all_say("without a database", "not ready: database: ")
        # So that what pods say of a database without a schema can be read: the Job would be done in a second.
        _suspended(cluster, True)
        servers.let_in(servers.database_port)
        made.until_all_say("without a schema", "has no schema yet")
        made.waited = [pod for some in made.pods().values() for pod in some]
        _suspended(cluster, False)
        cluster.kubectl("-n", NAMESPACE, "wait", "--for=condition=complete", f"job/{MIGRATION}", "--timeout=60s")
        rolled_out(cluster, *DEPLOYMENTS)
        _first_key(made)
        yield made
        cluster.kubectl("delete", "-k", made.folder, "--timeout=95s")


def _first_key(made: Prod) -> None:
    said = made.cluster.kubectl(
        "-n", NAMESPACE, "exec", "deployment/eurouter-service", "--", "eurouter", "keys", "create", "--name", "ci",
        "--owner", "team-a",
    )  # fmt: skip
    (made.key,) = [line.strip() for line in said.splitlines() if line.strip().startswith("eur_")]
    made.settings["keys"] = yaml.safe_load(said[said.index("  - id:") :])
    made.apply()
    made.key_seconds = until(
        lambda: made.all_answer("test/small"), lambda: f"{made.chat()}\n{state(made.cluster)}", 90
    )
