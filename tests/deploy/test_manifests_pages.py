"""The pages about installing and configuring, held to the manifests: names, files, and each example rendered."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from service.arguments import parser_of
from tests.deploy.manifests import (
    SERVICE,
    TREE,
    WORKER,
    main_container,
    migration,
    one,
    overlay,
    variables,
    workload,
)
from tests.deploy.objects import KUBECTL, OVERLAYS, Object, named, of_kind, read
from tests.support.pages import blocks, section
from tests.support.parts import ROOT

INSTALL: Final = ROOT / "docs" / "kubernetes" / "README.md"
CONFIGURE: Final = INSTALL.with_name("configure.md")


def fences(page: Path, language: str) -> list[str]:
    return blocks(page.read_text(encoding="utf-8"), language)


def commands() -> Iterator[str]:
    """Each command of both pages in one line."""
    for text in (*fences(INSTALL, "sh"), *fences(CONFIGURE, "sh")):
        yield from (line for line in text.replace("\\\n", " ").splitlines() if line)


def tables(page: Path, heading: str) -> list[list[list[str]]]:
    """The cells of each table under a heading, row by row."""
    found = re.findall(r"(?:^\|.*\n)+", section(page, heading), re.MULTILINE)
    assert found, heading
    return [[line.strip("| ").split(" | ") for line in table.splitlines()[2:]] for table in found]


def rows(page: Path, heading: str) -> list[list[str]]:
    """The first one's."""
    return tables(page, heading)[0]


def objects_of_examples() -> list[Object]:
    return [found for text in fences(CONFIGURE, "yaml") for found in read(text) if "kind" in found]


def kustomized(folder: Path, kustomization: dict[str, Any]) -> list[Object]:
    """A kustomization over the repository's, rendered."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    ran = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return read(ran.stdout)


def contains(whole: Any, part: Any) -> bool:
    """Whether everything of `part` stands in `whole`, in lists in any place."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(contains(whole.get(key), value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(one, value) for one in whole) for value in part)
    return bool(whole == part)


def test_every_example_with_a_kind_says_something_that_the_rendering_then_has(tmp_path: Path) -> None:
    """Patches of what production has, and objects beside it; all of them at once."""
    examples = objects_of_examples()
    assert len(examples) >= 6
    patches: list[str] = []
    beside: list[str] = []
    for number, example in enumerate(examples):
        known = named(overlay("prod"), example["kind"], example["metadata"]["name"]) is not None
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(example), encoding="utf-8")
        (patches if known else beside).append(path.name)
        assert not contains(overlay("prod"), [example]), f"{example['kind']}: changes nothing"
    assert patches
    assert beside
    made = kustomized(
        tmp_path,
        {
            "resources": [os.path.relpath(OVERLAYS / "prod", tmp_path), *beside],
            "patches": [{"path": name} for name in patches],
        },
    )
    for example in examples:
        found = named(made, example["kind"], example["metadata"]["name"])
        assert contains(found, example), example["kind"]


def test_migrations_may_use_a_database_user_of_their_own(tmp_path: Path) -> None:
    (text,) = [text for text in fences(CONFIGURE, "yaml") if "kind: Job" in text]
    prod = os.path.relpath(OVERLAYS / "prod", tmp_path)
    made = kustomized(tmp_path, {"resources": [prod], **yaml.safe_load(text)})
    (job,) = of_kind(made, "Job")
    (secret,) = [volume["secret"] for volume in job["spec"]["template"]["spec"]["volumes"] if "secret" in volume]
    assert secret["secretName"] == "eurouter-migrate"
    assert [item["key"] for item in secret["items"]] == ["database-url", "database-ca.crt"]


def test_an_address_put_before_the_runbooks_makes_links_of_all_of_them(tmp_path: Path) -> None:
    (text,) = [text for text in fences(CONFIGURE, "yaml") if "runbook_url" in text]
    prod = os.path.relpath(OVERLAYS / "prod", tmp_path)
    (rule,) = of_kind(kustomized(tmp_path, {"resources": [prod], **yaml.safe_load(text)}), "PrometheusRule")
    alerts = [rule for group in rule["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(alerts) >= 30
    for alert in alerts:
        assert (
            alert["annotations"]["runbook_url"]
            == f"https://REPOSITORY/blob/main/docs/runbooks/{alert['alert']}.md"
        )


def test_the_longer_drain_fits_its_grace_period() -> None:
    (example,) = [found for found in objects_of_examples() if "terminationGracePeriodSeconds" in str(found)]
    pod = example["spec"]["template"]["spec"]
    ((variable,),) = [container["env"] for container in pod["containers"]]
    assert variable["name"] == "EUROUTER_DRAIN__FINISH_SECONDS"
    pause = int(variables(workload("prod", SERVICE))["EUROUTER_DRAIN__PAUSE_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= pause + int(variable["value"]) + 16


def test_an_overlay_of_ones_own_as_the_page_has_it_takes_the_image_and_the_settings(tmp_path: Path) -> None:
    (text,) = [text for text in fences(INSTALL, "yaml") if "kind: Kustomization" in text]
    kustomization = yaml.safe_load(text)
    (base,) = kustomization["resources"]
    assert base.removeprefix("../eurouter/") == str((OVERLAYS / "prod").relative_to(ROOT))
    kustomization["resources"] = [os.path.relpath(OVERLAYS / "prod", tmp_path)]
    (tmp_path / "settings.yaml").write_text("floor: {eu_owned: true}\n", encoding="utf-8")
    scaling = (OVERLAYS / "prod" / "scaling.yaml").read_text(encoding="utf-8")
    (tmp_path / "scaling.yaml").write_text(re.sub(r"value: 10\b", "value: 25", scaling), encoding="utf-8")
    made = kustomized(tmp_path, kustomization)
    images = set(re.findall(r"'image': '(.+?)'", str(made)))
    version = main_container(workload("prod", SERVICE))["image"].partition(":")[2]
    assert images == {f"registry.example.com/platform/eurouter:{version}"}
    settings = named(made, "ConfigMap", "eurouter-settings")
    assert settings is not None
    assert settings["data"] == {"settings.yaml": "floor: {eu_owned: true}\n"}
    scaled = named(made, "ScaledObject", WORKER)
    assert scaled is not None
    assert scaled["spec"]["maxReplicaCount"] == 25


def test_another_namespace_takes_everything_and_a_label_for_prometheus_what_is_for_it(tmp_path: Path) -> None:
    (text,) = [text for text in fences(CONFIGURE, "yaml") if "monitoring.coreos.com" in text]
    prod = os.path.relpath(OVERLAYS / "prod", tmp_path)
    made = kustomized(tmp_path, {"namespace": "llm", "resources": [prod], **yaml.safe_load(text)})
    assert {found["metadata"]["namespace"] for found in made} == {"llm"}
    labelled = {found["kind"] for found in made if found["metadata"]["labels"].get("release")}
    assert labelled == {"PodMonitor", "PrometheusRule"}


def test_leaving_out_what_needs_an_operator_leaves_a_whole_installation(tmp_path: Path) -> None:
    prod = yaml.safe_load((OVERLAYS / "prod" / "kustomization.yaml").read_text(encoding="utf-8"))
    kept = [part for part in prod["components"] if part.rpartition("/")[2] in ("worker", "migration")]
    assert len(kept) == 2
    made = kustomized(
        tmp_path,
        {
            "resources": [os.path.relpath(TREE / "base", tmp_path)],
            "components": [os.path.relpath(OVERLAYS / "prod" / part, tmp_path) for part in kept],
        },
    )
    assert {found["apiVersion"].partition("/")[0] for found in made} == {
        "v1", "apps", "batch", "policy", "networking.k8s.io",
    }  # fmt: skip


def test_every_folder_and_object_that_a_command_names_is_there() -> None:
    folders = {word for line in commands() for word in re.findall(r"-k (deploy/\S+)", line)}
    assert len(folders) == 2
    assert all((ROOT / folder / "kustomization.yaml").is_file() for folder in folders)
    kinds = {"deployment": "Deployment", "job": "Job"}
    asked = {pair for line in commands() for pair in re.findall(r"\b(deployment|job)/(\S+)", line)}
    assert len(asked) >= 3
    for kind, name in asked:
        assert named(overlay("prod"), kinds[kind], name) is not None, name


def test_the_image_that_is_built_is_the_one_that_the_pods_ask_for() -> None:
    built = {word for line in commands() for word in re.findall(r"\beurouter:[\w.]+", line)}
    assert built == {main_container(workload("prod", SERVICE))["image"]}


def test_every_command_of_ours_is_one_that_the_program_takes() -> None:
    ours = [line.split(" eurouter ")[-1] for line in commands() if re.search(r"(?:^|-- )eurouter ", line)]
    assert len(ours) >= 2
    for line in ours:
        parser_of("").parse_args(line.removeprefix("eurouter ").split())


def test_the_secrets_that_are_made_are_those_of_the_example() -> None:
    text = (OVERLAYS / "prod" / "secrets.example.yaml").read_text(encoding="utf-8")
    example = {found["metadata"]["name"]: set(found["stringData"]) for found in read(text)}
    made = {
        line.split(" generic ")[1].split()[0]: set(re.findall(r"--from-(?:file|literal)=([\w.-]+)", line))
        for line in commands()
        if "create secret generic" in line
    }
    assert made == example


def test_every_object_in_the_table_is_in_a_rendering_and_every_rendered_kind_is_in_the_table() -> None:
    everything = [*overlay("dev"), *overlay("prod")]
    cells = rows(INSTALL, "What each object is for")
    told = {name for object_, *_ in cells for name in re.findall(r"`([\w-]+)`", object_)}
    assert told <= {found["metadata"]["name"] for found in everything}
    kinds = " ".join(object_ for object_, *_ in cells)
    for kind in {found["kind"] for found in everything} - {"Secret"}:
        assert kind in kinds or kind.replace("Policy", "Policies") in kinds, kind
    for _, where, _ in cells:
        for path in re.findall(r"`([\w/]+?)/?`", where):
            assert (TREE / path).is_dir(), path


def test_every_file_to_edit_is_there_and_has_the_key() -> None:
    said: dict[str, list[str]] = {}
    name = ""
    for file, keys, _ in rows(CONFIGURE, "What to edit"):
        name = file.strip("`") or name
        said.setdefault(name, []).extend(re.findall(r"`([^`]+)`", keys))
    not_there_yet = ("owners", "rules", "ipBlock")
    files = {path.name for path in (OVERLAYS / "prod").iterdir()} - {"secrets.example.yaml"}
    assert {name for name in said if name.endswith(".yaml")} == files
    for name in files:
        text = (OVERLAYS / "prod" / name).read_text(encoding="utf-8")
        for key in said[name]:
            for part in re.findall(r"[\w/]+", key):
                assert part.rpartition("/")[2] in text or part in not_there_yet, (name, part)


def test_the_variables_in_the_table_are_those_of_the_pods() -> None:
    given: dict[str, set[str]] = {}
    for which in (SERVICE, WORKER, migration().owner["metadata"]["name"]):
        for name, value in variables(workload("prod", which)).items():
            given.setdefault(name, set()).add(value)
    _, table = tables(CONFIGURE, "What to edit")
    told = {name for names, *_ in table for name in re.findall(r"`([A-Z_]{6,})`", names)}
    assert told == {name for name in given if name.startswith(("EUROUTER_", "OTEL_"))}
    for name in ("EUROUTER_CONFIG", "EUROUTER_SECRETS_DIR"):
        assert [f"`{value}`" for value in given[name]] == [value for names, value, _ in table if name in names]


def test_the_waves_are_the_ones_of_the_manifests() -> None:
    told = {int(wave) for wave, _ in rows(CONFIGURE, "Argo CD and Flux")}
    key = "argocd.argoproj.io/sync-wave"
    found = {int(one["metadata"].get("annotations", {}).get(key, 0)) for one in overlay("prod")}
    assert told == found


def test_the_number_of_service_pods_is_told() -> None:
    spec = one("prod", "HorizontalPodAutoscaler", SERVICE)["spec"]
    assert f"({spec['minReplicas']} to {spec['maxReplicas']})" in section(CONFIGURE, "What to edit")
