"""Runs the scenarios: starts what is to be measured, goes through the rounds, collects raw figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from bench import fleet, measure, product, verify, verify_responses
from bench.fleet import Cores, Loads, Running, StartError
from bench.load import Door, Load
from bench.scenarios import CONNECTIONS, CONVERSATION, OURS, QUICK_IN_FLIGHT, SERVER_NAMES, Scenario, Server
from bench.traffic import BURST_MODEL, DIALECTS, PACED_MODEL, STREAM_TOKENS, UNARY_MODEL, name_of

_WARM_UP_SECONDS: Final = 0.2
_FIRST_WARM_UP_SECONDS: Final = 1.0
_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True)
class Options:
    """How a run goes. `servers`: those to measure; the others are not started.

    `finished`: jobs that were over before, in a second database on which background jobs are measured as well.
    """

    rounds: int
    quick: bool
    groups: frozenset[str]
    servers: frozenset[Server]
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `cost`: CPU µs of the server per call or token; `rate`: calls or tokens a second.

    `messages`: messages or events per call. Busy: CPU seconds per second of the server, and of load
    generator and upstream together (the last says whether they were the limit).
    """

    cost: float
    rate: float
    messages: float
    server_busy: float
    rest_busy: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under test and how it is reached. `conversation`: the id of the last of many stored responses."""

    name: Server
    running: Running
    door: Door
    port: int
    key: str = ""
    conversation: str | None = None

    def load(self, scenario: Scenario, **changes: Any) -> Load:
        """The scenario's traffic for this server."""
        load = Load(
            door=self.door,
            port=self.port,
            key=self.key,
            model=scenario.model,
            stream=scenario.stream,
            in_flight=scenario.in_flight,
            connections=CONNECTIONS,
            spread=scenario.spread,
            kind=scenario.kind,
            previous=self.conversation if scenario.continues else None,
        )
        return replace(load, **changes)


@dataclass(slots=True)
class Raw:
    """What a run found. `samples` by scenario and server, one a round; `missing`: what did not run, and why."""

    samples: dict[str, dict[str, list[Sample]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    first_token: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    processes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    memory: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    dialects: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    kafka: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        samples = {
            name: {server: [asdict(sample) for sample in rows] for server, rows in by_server.items()}
            for name, by_server in self.samples.items()
        }
        others = ("first_token", "processes", "memory", "dialects", "jobs", "kafka", "missing")
        return {"samples": samples} | {name: getattr(self, name) for name in others}


class Stage:
    """The processes of a run, up from entering to leaving."""

    def __init__(self, options: Options, folder: Path, raw: Raw, profile: Path | None = None) -> None:
        self.options = options
        self.cores = Cores.of_this_machine()
        self.folder = folder
        self.raw = raw
        self._profile = profile
        self._stack = ExitStack()
        self.subjects: dict[Server, Subject] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def upstream_url(self) -> str:
        """The simulator's base URL."""
        return f"http://127.0.0.1:{self.upstream_port}/v1"

    def keep(self, running: Running) -> Running:
        """Stops it at the end."""
        self._stack.callback(running.stop)
        return running

    def _start(self) -> None:
        self.upstream_port = fleet.free_port()
        arguments = {"port": str(self.upstream_port), "calls-kept": "1"}
        upstream = fleet.module(
            "upstream", "adapters.providers.simulator", arguments, self.cores.rest, self.folder
        )
        self.upstream = self.keep(upstream)
        upstream.wait_for_port(self.upstream_port)
        self.loads = Loads(self.cores, self.folder)
        self._stack.callback(self.loads.stop)
        for name in ("floor", "sketch", "merged"):
            if name in self.options.servers:
                self._start_baseline(name)
        if self.options.servers & {"ours", "ours-http"}:
            self._start_ours()

    def _start_baseline(self, name: Literal["floor", "sketch", "merged"]) -> None:
        port = fleet.free_port()
        arguments = {"port": str(port)}
        if name != "floor":
            arguments["upstream"] = self.upstream_url
        if name == "merged":
            arguments["merge"] = ""
        name_of_module = "bench.floor" if name == "floor" else "bench.sketch"
        running = self.keep(fleet.module(name, name_of_module, arguments, self.cores.server, self.folder))
        running.wait_for_port(port)
        self._admit(Subject(name, running, "grpc", port))

    def _start_ours(self) -> None:
        try:
            ours = product.start("ours", self.upstream_url, self.cores.server, self.folder, profile=self._profile)
            self.keep(ours.running)
            ours.wait()
            stored = self._conversation(ours)
            if "ours" in self.options.servers:
                self._admit(Subject("ours", ours.running, "grpc", ours.grpc_port, ours.key, stored))
            if "ours-http" in self.options.servers:
                self._admit(Subject("ours-http", ours.running, "http", ours.http_port, ours.key, stored))
        except StartError as error:
            self.raw.missing["the service"] = str(error)

    def _conversation(self, ours: product.Product) -> str | None:
        if "responses" not in self.options.groups:
            return None
        name = SERVER_NAMES["ours-http"]
        return verify_responses.conversation(name, ours.http_port, ours.key, self.upstream_port, CONVERSATION)

    def _admit(self, subject: Subject) -> None:
        """Adds a server once it answers as the load generator believes it does."""
        grpc, name = subject.door == "grpc", SERVER_NAMES[subject.name]
        check = verify.answers_grpc if grpc else verify.answers_http
        check(name, subject.port, subject.key)
        if subject.name in OURS and "dialects" in self.options.groups:
            for dialect in DIALECTS:
                models = (name_of(dialect, UNARY_MODEL), name_of(dialect, BURST_MODEL))
                check(f"{name}, {dialect}", subject.port, subject.key, models)
        if subject.conversation is not None:
            check_responses = verify_responses.answers_grpc if grpc else verify_responses.answers_http
            check_responses(name, subject.port, subject.key, subject.conversation)
        self.subjects[subject.name] = subject


def go_through(stage: Stage, scenarios: Iterable[Scenario], say: Callable[[str], None]) -> None:
    """All rounds: every scenario on every server in turn.

    Each round another server comes first, and every other round goes through the scenarios backwards.
    """
    options = stage.options
    chosen = [
        scenario
        for scenario in scenarios
        if scenario.group in options.groups and (not options.quick or scenario.in_flight == QUICK_IN_FLIGHT)
    ]
    if not chosen:
        return
    say("warming up")
    for scenario in chosen:
        for subject in _of(stage, scenario, 0):
            _warm_up(stage, subject, scenario, _FIRST_WARM_UP_SECONDS / 2)
    for number in range(options.rounds):
        for scenario in chosen if number % 2 == 0 else reversed(chosen):
            say(f"round {number + 1} of {options.rounds}: {scenario.name}")
            for subject in _of(stage, scenario, number):
                sample = take(stage, subject, scenario)
                stage.raw.samples[scenario.name][subject.name].append(sample)


def take(stage: Stage, subject: Subject, scenario: Scenario) -> Sample:
    """Measures one server in one scenario, once.

    Raises:
        StartError: a call failed or a process died.
    """
    _warm_up(stage, subject, scenario, _WARM_UP_SECONDS)
    seconds = scenario.quick_seconds if stage.options.quick else scenario.seconds
    with watched(subject.running.pid) as server, watched(stage.loads.pid, stage.upstream.pid) as rest:
        (result,) = stage.loads.run(subject.load(scenario, seconds=seconds))
    units = result["calls"] * (STREAM_TOKENS if scenario.stream else 1)
    return Sample(
        cost=server.total / units * _MICRO,
        rate=units / result["seconds"],
        messages=result["messages"] / result["calls"],
        server_busy=server.total / result["seconds"],
        rest_busy=rest.total / result["seconds"],
    )


@dataclass(slots=True)
class Watch:
    """CPU seconds by process, once the watched block is over."""

    spent: dict[int, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Over all processes."""
        return sum(self.spent.values())


@contextmanager
def watched(*pids: int) -> Iterator[Watch]:
    """Reads the CPU time of processes and their descendants around a block, those that begin in it included.

    What ends in it is left out.
    """
    watch = Watch()
    before = measure.family_cpu(_everybody(pids))
    yield watch
    watch.spent = measure.spent(before, measure.family_cpu(_everybody(pids)))


def _everybody(pids: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(member for pid in pids for member in measure.family(pid))


def _warm_up(stage: Stage, subject: Subject, scenario: Scenario, seconds: float) -> None:
    if scenario.model == PACED_MODEL:
        # A paced stream takes its time: bursts warm up as well, and the connections are opened without a call.
        stage.loads.run(subject.load(scenario, model=BURST_MODEL, seconds=seconds))
        stage.loads.run(subject.load(scenario))
    else:
        stage.loads.run(subject.load(scenario, seconds=seconds))


def _of(stage: Stage, scenario: Scenario, number: int) -> list[Subject]:
    subjects = [stage.subjects[name] for name in scenario.servers if name in stage.subjects]
    first = number % max(1, len(subjects))
    return subjects[first:] + subjects[:first]
