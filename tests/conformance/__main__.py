"""`make conformance`: llmprobe over the simulator behind each dialect and the local model; writes the page."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from adapters import logs
from service import demo
from tests.conformance.prepare import prepare
from tests.conformance.probe import Probed, probe
from tests.conformance.report import page
from tests.support.parts import ROOT
from tests.support.running import running_service

PAGE: Final = ROOT / "docs" / "conformance.md"
OBEDIENT: Final = "simulator/sim-obey"

_NOT_LOOKED_AT: Final = frozenset(
    {
        "chat-rate-limit-headers",
        "responses-rate-limit-headers",
        "responses-mcp-tools",
        "responses-reasoning-roundtrip",
    }
)
DIALECTS: Final = {
    "openai_chat": _NOT_LOOKED_AT,
    "anthropic": _NOT_LOOKED_AT
    | {
        "chat-json-mode",
        "chat-logprobs",
        "chat-n-choices",
        "chat-reasoning",
        "chat-reasoning-cap",
        "chat-seed",
        "responses-json-mode",
        "responses-reasoning-cap",
    },
    "openai_responses": _NOT_LOOKED_AT | {"chat-n-choices", "chat-seed", "chat-stop-string"},
}
"""Behind which dialects the simulator is probed, and what may not pass there: `report.WHY` says why."""

# A small model on a busy machine may take its time.
_PATIENT: Final = {"upstream": {"first_byte_seconds": 300, "idle_seconds": 300}}


def simulator_rows(dialect: str, url: str) -> dict[str, Any]:
    """A catalogue with the obedient model behind one dialect."""
    provider = {"slug": "simulator", "dialect": dialect, "base_url": f"{url}/v1", "ours": True, "simulator": True}
    endpoint = {
        "provider": "simulator",
        "model": "sim-obey",
        "price": {"prompt": 0, "completion": 0},
        "context_length": 1_000_000,
        "max_output_tokens": 100_000,
    }
    return {
        "providers": [provider],
        "models": [{"id": OBEDIENT, "input_modalities": ["text", "image"], "endpoints": [endpoint]}],
    }


async def over_the_simulator(dialect: str, folder: Path) -> Probed:
    """The probe over the obedient simulator."""
    async with running_service(folder, catalog=lambda url, _: simulator_rows(dialect, url)) as up:
        return await probe(f"simulator, `{dialect}`", f"{up.http}/v1", OBEDIENT, folder)


async def over_the_local_model(folder: Path, python: Path) -> Probed | None:
    """The probe over what `make run` starts; None, with a line said, where the model can't run."""
    async with AsyncExitStack() as stack:
        shown = await demo.start(stack, python, say)
        if shown.simulated:
            return None
        rows = yaml.safe_load(shown.catalog.read_text())
        async with running_service(folder, _PATIENT, catalog=lambda *_: rows) as up:
            return await probe("local model", f"{up.http}/v1", shown.model, folder)


async def run(folder: Path, python: Path, *, local: bool) -> tuple[list[Probed], list[str]]:
    """Everything in turn: what was found, and what should have passed and did not."""
    results, wrong = [], []
    for dialect, known in DIALECTS.items():
        say(f"llmprobe over the simulator, {dialect}")
        inner = folder / dialect
        inner.mkdir()
        probed = await over_the_simulator(dialect, inner)
        results.append(probed)
        wrong += probed.problems(known)
    if local:
        say("llmprobe over the local model (about ten minutes)")
        inner = folder / "local"
        inner.mkdir()
        found = await over_the_local_model(inner, python)
        results += [found] if found else []
    return results, wrong


def say(line: str) -> None:
    """Tell the person who waits."""
    sys.stdout.write(f"==> {line}\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 when all that must pass did."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--simulator-only", action="store_true", help="leave the local model and the page alone")
    options = parser.parse_args()
    if problem := prepare():
        say(problem)
        return 1
    logs.configure("console", "error")
    python = ROOT / ".venv-model" / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="eurouter-conformance-") as folder:
        results, wrong = asyncio.run(run(Path(folder), python, local=not options.simulator_only))
    text = page(results, datetime.now(UTC).date().isoformat())
    if options.simulator_only or len(results) == len(DIALECTS):
        sys.stdout.write(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
        say(f"written: {PAGE.relative_to(ROOT)}")
    for line in wrong:
        say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
