"""The manifests in deploy/kubernetes as tests look at them: rendered overlays, and what a pod would start with.

Names of this product stand here; what holds for any set of objects is in `objects.py` and `references.py`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from adapters.providers.secrets import FOLDER
from service.settings import Settings
from tests.deploy.objects import OVERLAYS, Object, Workload, named, rendered, workloads
from tests.support.parts import ROOT

TREE: Final = OVERLAYS.parent
SETTINGS: Final = "/etc/eurouter/settings"
SECRETS: Final = "/etc/eurouter/secrets"
CONTAINER: Final = "eurouter"
SERVICE: Final = "eurouter-service"
WORKER: Final = "eurouter-worker"
LONG_RUNNING: Final = (("dev", SERVICE), ("prod", SERVICE), ("prod", WORKER))
"""What serves or works until it is told to stop: overlay and Deployment."""

PEPPER: Final = "a-pepper-of-the-tests-only"
GIVEN: Final[Mapping[str, str]] = {
    "key-pepper": PEPPER,
    "database-url": "postgresql://eurouter:secret@db.example.com:5432/eurouter"
    f"?sslmode=verify-full&sslrootcert={SECRETS}/database-ca.crt",
    "kafka-password": "another-secret",
}
"""Secrets that an operator would have made."""


def release() -> str:
    """The version that the manifests are for: the package's, or the one that it is on the way to."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    return re.sub(r"\.?(dev|rc|a|b)\d+$", "", version)


@cache
def _overlay(name: str) -> tuple[Object, ...]:
    return tuple(rendered(OVERLAYS / name))


def overlay(name: str) -> list[Object]:
    """The objects of `dev` or `prod`. They are shared: not to be changed."""
    return list(_overlay(name))


def one(name: str, kind: str, called: str) -> Object:
    """One object of an overlay."""
    found = named(overlay(name), kind, called)
    assert found is not None, f"{name} has no {kind} {called}"
    return found


def workload(name: str, called: str) -> Workload:
    """The Deployment or Job of this name."""
    return next(found for found in workloads(overlay(name)) if found.owner["metadata"]["name"] == called)


def migration() -> Workload:
    """Production's Job."""
    return workload("prod", f"eurouter-migrate-{release().replace('.', '-')}")


def everything_that_runs() -> list[Workload]:
    """Each overlay's Deployments and Jobs."""
    return [found for name in ("dev", "prod") for found in workloads(overlay(name))]


def main_container(of: Workload) -> Object:
    """The container that runs our program."""
    found: Object = next(container for container in of.pod["containers"] if container["name"] == CONTAINER)
    return found


def variables(of: Workload) -> dict[str, str]:
    """The variables that its container is given by value."""
    return {one["name"]: one["value"] for one in main_container(of).get("env", []) if "value" in one}


def environment(name: str, of: Workload, folder: Path, *, secrets: Mapping[str, str] = GIVEN) -> dict[str, str]:
    """Its variables, with the ConfigMap's and the Secret's files in `folder` in place of where they are mounted.

    `secrets` are those of an overlay that makes none itself.
    """
    inside = {SETTINGS: folder / "settings", SECRETS: folder / "secrets"}
    for path in inside.values():
        path.mkdir(parents=True, exist_ok=True)
    made = named(overlay(name), "Secret", "eurouter-secrets")
    for key, value in (secrets if made is None else _decoded(made)).items():
        (inside[SECRETS] / key).write_text(value, encoding="utf-8")
    for key, text in one(name, "ConfigMap", "eurouter-settings")["data"].items():
        (inside[SETTINGS] / key).write_text(_moved(text, inside), encoding="utf-8")
    return {variable: _moved(value, inside) for variable, value in variables(of).items()}


def settings(name: str, of: Workload, folder: Path) -> Settings:
    """The settings with which its process would begin."""
    env = environment(name, of, folder)
    assert env[FOLDER] == str(folder / "secrets")
    return Settings.load(Path(env["EUROUTER_CONFIG"]), env)


def _decoded(secret: Object) -> dict[str, str]:
    return {key: b64decode(value).decode() for key, value in secret["data"].items()}


def _moved(text: str, inside: Mapping[str, Path]) -> str:
    for before, after in inside.items():
        text = text.replace(before, str(after))
    return text
