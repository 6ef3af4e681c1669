"""`python -m bench`: the whole run, or a part of it. README: docs/benchmarks.md.

Ends with 0 whatever the figures are (a benchmark informs) and with 1 when something did not run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from bench import extras, machine, measure, profile_run, report, run
from bench.dialects import report as dialects_report
from bench.dialects import run as dialects_run
from bench.fleet import ROOT, StartError
from bench.jobs import profile as jobs_profile
from bench.jobs import report as jobs_report
from bench.jobs import run as jobs_run
from bench.kafka import profile as kafka_profile
from bench.kafka import report as kafka_report
from bench.kafka import run as kafka_run
from bench.run import Options, Raw, Stage
from bench.scenarios import GROUPS, SCENARIOS, SERVERS

_RESULTS: Final = ROOT / "bench" / "results"
_PROFILE_VARIABLE: Final = "EUROUTER_PROFILE"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line."""

    options: Options
    profile: Path | None


def main(words: list[str] | None = None) -> int:
    """Runs and reports; returns the exit code."""
    if not measure.supported():
        print("The benchmark reads CPU times from Linux's /proc: run it on Linux.", file=sys.stderr)
        return 1
    arguments = _arguments(words)
    raw = Raw()
    _RESULTS.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    try:
        with tempfile.TemporaryDirectory(prefix="eurouter-bench-") as folder:
            described = _measure(arguments, raw, Path(folder))
    except StartError as error:
        print(f"\nThe benchmark broke off: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    if arguments.profile is None:
        _tell(raw, described, begun, arguments.options)
    for what, why in raw.missing.items():
        print(f"\nNOT RUN: {what}: {why}", file=sys.stderr)
    return 1 if raw.missing else 0


def _measure(arguments: Arguments, raw: Raw, folder: Path) -> dict[str, Any]:
    options, profile = arguments.options, arguments.profile
    written = folder / "profile" if profile else None
    with Stage(options, folder, raw, written) as stage:
        described = machine.describe(stage.cores)
        if not stage.cores.server:
            _say("one core only: nothing is pinned, and the figures include the others' caches")
        if profile is not None and written is not None:
            profile_run.profile(stage, SCENARIOS, written, profile)
            jobs_profile.profile(stage, written, profile)
            kafka_profile.profile(stage, written, profile)
            return described
        run.go_through(stage, SCENARIOS, _say)
        extras.first_tokens(stage, _say)
        extras.memory(stage, _say)
        extras.processes(stage, _say)
        dialects_run.measure(stage, _say)
        jobs_run.measure(stage, _say)
        kafka_run.measure(stage, _say)
    return described


def _tell(raw: Raw, described: dict[str, Any], begun: float, options: Options) -> None:
    found = report.verdicts(raw)
    print(f"\n{_machine_line(described)}")
    print(f"Medians of {options.rounds} rounds; CPU of the serving process, all threads.")
    for title, table, there in (
        ("CPU per call and per token", report.cost_table(raw), raw.samples),
        ("Time to the first token", report.first_token_table(raw), raw.first_token),
        ("Two processes on one port", report.process_table(raw), raw.processes),
        ("Memory", report.memory_table(raw), raw.memory),
        ("Translation alone", raw.dialects and dialects_report.tables(raw.dialects), raw.dialects),
        ("Background jobs", jobs_report.tables(raw.jobs), raw.jobs),
        ("Background jobs with Kafka", kafka_report.tables(raw.kafka), raw.kafka),
        ("Targets", report.verdict_table(found), True),
    ):
        if there:
            print(f"\n### {title}\n\n{table}")
    path = _RESULTS / time.strftime("%Y%m%dT%H%M%SZ.json", time.gmtime(begun))
    document = {
        "begun": int(begun),
        "seconds": round(time.time() - begun),
        "rounds": options.rounds,
        "quick": options.quick,
        "machine": described,
        **report.as_json(raw, found),
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    print(f"\n{document['seconds']} s; everything is in {path.relative_to(ROOT)}")


def _machine_line(described: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in described["packages"].items())
    return (
        f"{described['processor']}, {described['cores']} cores, {described['memory_gib']} GiB, "
        f"{described['system']}, {described['python']}, {packages}; "
        f"load average before: {described['load_average_before'][0]}"
    )


def _arguments(words: list[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how many rounds (default 7; 3 with --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer scenarios and streams, short rounds: an impression"
    )
    parser.add_argument("--only", default="", help=f"groups, separated by commas: {', '.join(GROUPS)}")
    parser.add_argument("--servers", default="", help=f"servers, separated by commas: {', '.join(SERVERS)}")
    parser.add_argument(
        "--finished",
        type=int,
        default=0,
        metavar="N",
        help="measure background jobs also beside so many finished ones (5000000: 8 GiB, some minutes more)",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help=f"run the service under cProfile and print what is dear (or set {_PROFILE_VARIABLE}=FILE)",
    )
    given = parser.parse_args(words)
    groups, servers = _choice(parser, given.only, GROUPS), _choice(parser, given.servers, SERVERS)
    variable = os.environ.get(_PROFILE_VARIABLE, "")
    profile = Path(variable).resolve() if variable else _RESULTS / "profile" if given.profile else None
    if given.finished < 0:
        parser.error("--finished: must be 0 or more")
    if profile is not None:
        servers &= {"ours", "ours-http"}
    if groups <= {"jobs", "kafka"}:
        servers = frozenset()  # they start their own
    elif groups <= {"dialects", "jobs", "kafka"}:
        servers &= {"ours"}
    rounds = given.rounds or (3 if given.quick else 7)
    return Arguments(Options(rounds, given.quick, groups, servers, given.finished), profile)  # type: ignore[arg-type]


def _choice(parser: argparse.ArgumentParser, given: str, known: tuple[str, ...]) -> frozenset[str]:
    chosen = frozenset(word.strip() for word in given.split(",") if word.strip())
    if unknown := chosen - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return chosen or frozenset(known)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K==> {text}", end="", file=sys.stderr, flush=True)
    else:
        print(f"==> {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
