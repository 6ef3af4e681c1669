"""docs/kubernetes/scale.md and capacity.md, held to manifests, examples, defaults and the benchmarks' page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from service.settings import Settings
from tests.deploy.manifests import one, variables, workload
from tests.deploy.test_client_side_balancing import COMMANDS
from tests.support.pages import blocks, section
from tests.support.parts import ROOT

SCALE: Final = ROOT / "docs" / "kubernetes" / "scale.md"
CAPACITY: Final = SCALE.with_name("capacity.md")
BENCHMARKS: Final = ROOT / "docs" / "benchmarks.md"
CLIENTS: Final = ROOT / "tests" / "clients"
PLANNED: Final = 0.65
"""The share of a core that is planned with."""

MEASURED: Final = {
    "a whole answer over gRPC": ("gRPC 807 (16) and 798 (64)", "798 µs"),
    "a whole answer over HTTP": ("HTTP 554 and 561", "561 µs"),
    "a whole answer over gRPC, stored (Responses)": (
        "| unary, 64 in flight | call | 752 | 880 | 1026 |",
        "1,026 µs",
    ),
    "a whole answer over gRPC that continues 50 stored ones": (
        "| unary, continues 50 responses | call | | 2952 |",
        "2,952 µs",
    ),
    "a token of a stream, as fast as the provider can": ("| 5.7 (5.4-8.7) |", "5.7 µs"),
    "a token of a stream, each when it comes, 64 streams with 200 a second each": (
        "| 47.5 (43.2-51.4) |",
        "47.5 µs",
    ),
    "the same, one stream alone": ("| paced, 1 stream | token | | 481 | 438 | 482 |", "482 µs"),
    "a background job more than the same call, service and worker together": ("| 537 µs (468-569) |", "537 µs"),
    "one-token jobs, one worker that does nothing else": ("| at least 150 a second | 1,038 |", "1,038 a second"),
    "events of jobs that are followed, one worker": (
        "| at least 10,000 a second | 22,885 |",
        "22,885 a second",
    ),
    "intake of small records, one worker": ("| 2,513 (2,457-2,569); 297 µs of CPU a record |", "297 µs"),
}
"""What capacity.md says, where benchmarks.md has it, and the figure."""


def rows(page: Path, heading: str) -> dict[str, list[str]]:
    """The cells of a section's tables by their first one; a row without one belongs to the row above."""
    found: dict[str, list[str]] = {}
    for line in section(page, heading).splitlines():
        if line.startswith("|"):
            first, *cells = (cell.strip() for cell in line.strip().strip("|").split("|"))
            found[first] = cells
    return found


def number(text: str) -> float:
    """The first number of a cell."""
    found = re.search(r"[\d,]*\d(?:\.\d+)?", text)
    assert found, text
    return float(found[0].replace(",", ""))


@pytest.mark.parametrize("what", MEASURED)
def test_a_figure_of_the_capacity_page_is_the_one_of_the_benchmarks_page(what: str) -> None:
    there, here = MEASURED[what]
    assert there in BENCHMARKS.read_text(encoding="utf-8"), there
    assert here in rows(CAPACITY, "What things cost")[what]


def test_every_row_of_the_capacity_page_comes_from_the_benchmarks_page() -> None:
    named = set(rows(CAPACITY, "What things cost")) - {"what", "---"}
    assert named == set(MEASURED)


def test_memory_over_many_streams_is_the_benchmarks_figure() -> None:
    figure = "93.1 to 92.5 MiB"
    assert f"| memory over 5,000 streams | flat | {figure} |" in BENCHMARKS.read_text(encoding="utf-8")
    assert figure in section(CAPACITY, "Memory")


def test_what_a_core_does_follows_from_what_one_costs() -> None:
    checked = 0
    for what, (cpu, does) in rows(CAPACITY, "What things cost").items():
        # Intake was measured as a rate too, with what the process does beside it.
        if cpu.endswith("µs") and does and "intake" not in what:
            assert number(does) == pytest.approx(1e6 / number(cpu), rel=0.02), what
            checked += 1
    assert checked == 7


def test_streams_per_core_follow_from_what_a_token_costs() -> None:
    token = number(MEASURED["a token of a stream, each when it comes, 64 streams with 200 a second each"][1])
    found = {rate: cells for rate, cells in rows(CAPACITY, "Streams per core").items() if rate.isdigit()}
    assert len(found) == 4
    for rate, cells in found.items():
        assert number(cells[0]) == pytest.approx(PLANNED * 1e6 / token / int(rate), rel=0.03), rate


def test_the_manifests_scale_as_the_page_says() -> None:
    said = section(SCALE, "HPA and KEDA")
    hpa = one("prod", "HorizontalPodAutoscaler", "eurouter-service")["spec"]
    keda = one("prod", "ScaledObject", "eurouter-worker")["spec"]
    (cpu,) = (metric["containerResource"] for metric in hpa["metrics"])
    jobs, intake = (trigger["metadata"] for trigger in keda["triggers"])
    down = keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    for name, value in (
        ("averageUtilization", cpu["target"]["averageUtilization"]),
        ("minReplicas", hpa["minReplicas"]),
        ("targetQueryValue", jobs["targetQueryValue"]),
        ("lagThreshold", intake["lagThreshold"]),
        ("minReplicaCount", keda["minReplicaCount"]),
        ("fallback", keda["fallback"]["replicas"]),
    ):
        assert re.search(rf"`{name}` \| {value}\b", said), (name, value)
    window = hpa["behavior"]["scaleDown"]
    assert window["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    assert f"1 pod in 120 s, after {window['stabilizationWindowSeconds']} s" in said
    assert f"25 % or 1 pod in 120 s, after {down['stabilizationWindowSeconds']} s" in said
    assert [policy["value"] for policy in down["policies"]] == [25, 1]


def test_a_worker_is_asked_for_as_many_jobs_as_it_works_on_at_a_time() -> None:
    keda = one("prod", "ScaledObject", "eurouter-worker")["spec"]
    assert int(keda["triggers"][0]["metadata"]["targetQueryValue"]) == Settings().jobs.concurrency
    assert "'in_progress'" in keda["triggers"][0]["metadata"]["query"], "running jobs count, too"
    assert not any("workers" in str(trigger["metadata"].get("consumerGroup")) for trigger in keda["triggers"])


def test_connections_are_added_up_as_the_page_says() -> None:
    found = [
        [int(number(cell)) for cell in (first, *cells)]
        for first, *cells in re.findall(
            r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+)", section(SCALE, "PostgreSQL's connections"), re.MULTILINE
        )
    ]
    assert len(found) == 4
    assert Settings().database.pool_size in {pool for _, _, pool, _ in found}
    for services, workers, pool, connections in found:
        assert connections == (pool + 1) * (services + workers)


def test_the_times_that_the_page_names_are_the_services_defaults_and_the_manifests() -> None:
    text = SCALE.read_text(encoding="utf-8")
    settings = Settings()
    assert f"{settings.grpc.max_connection_age_seconds / 60:.0f} minutes as shipped" in text
    assert f"a ping every {settings.grpc.keepalive_permit_seconds:.0f} s" in text
    assert f"`jobs.lease_seconds` ({settings.jobs.lease_seconds:.0f} s)" in text
    assert f"{settings.kafka.partitions} partitions" in text
    given = variables(workload("prod", "eurouter-service"))
    drain = sum(float(given[f"EUROUTER_DRAIN__{part}_SECONDS"]) for part in ("PAUSE", "FINISH"))
    assert f"({drain:.0f} s in the manifests)" in text


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("go", "go/balanced/main.go"),
        ("java", "java/src/main/java/com/example/chat/Balanced.java"),
        ("python", "python/balanced.py"),
    ],
)
def test_an_example_of_balancing_is_part_of_the_program_that_the_tests_run(language: str, source: str) -> None:
    examples = blocks(SCALE.read_text(encoding="utf-8"), language)
    assert "round_robin" in "".join(examples)
    assert "keepalive" in "".join(examples).lower()
    for example in examples:
        assert example in (CLIENTS / source).read_text(encoding="utf-8")


def test_javas_command_is_the_one_that_the_tests_run() -> None:
    (command,) = blocks(SCALE.read_text(encoding="utf-8"), "sh")
    assert command.replace("\\\n  ", "").strip() == COMMANDS["java"]


def test_all_three_examples_have_the_same_service_config() -> None:
    def words(text: str) -> list[str]:
        """What is written between quotes, in its order."""
        return re.findall(r'"([\w. ]+)"', text)

    texts = {
        path: (CLIENTS / path).read_text(encoding="utf-8")
        for path in ("go/balanced/main.go", "python/balanced.py")
    }
    java = (CLIENTS / "java/src/main/java/com/example/chat/Balanced.java").read_text(encoding="utf-8")
    parts: dict[str, Any] = {
        "go": words(texts["go/balanced/main.go"].partition("const serviceConfig")[2].partition("`\n\n")[0]),
        "python": words(texts["python/balanced.py"].partition("SERVICE_CONFIG = ")[2].partition("OPTIONS")[0]),
        "java": words(java.partition("SERVICE_CONFIG =")[2].partition("private Balanced")[0]),
    }
    assert len(parts["go"]) >= 15
    assert parts["go"] == parts["python"] == parts["java"]
