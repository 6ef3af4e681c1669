"""An upstream that plays scripts, a clock that only moves when told, and the ports' recording fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service.domain.calls import CallContext, Principal
from service.domain.catalog import Endpoint
from service.domain.errors import ServiceError
from service.domain.events import Event, Finish, FinishReason, Start, TextDelta, Usage
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.generation import Generation, Role, Text, Turn
from service.domain.money import Cost


class FakeClock:
    """Seconds that pass only by `sleep` and `forward`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Moves the clock, and lets other tasks run once."""
        self.slept.append(seconds)
        self.forward(seconds)
        await asyncio.sleep(0)

    def forward(self, seconds: float) -> None:
        """Moves the clock."""
        self.now += seconds


@dataclass(frozen=True)
class Pause:
    """Seconds of the fake clock that pass before what comes next."""

    seconds: float


class Hang:
    """Never goes on: only a cancellation or a close ends it."""


Step: TypeAlias = Sequence[Event] | Failure | ServiceError | Pause | Hang


@dataclass(frozen=True)
class Script:
    """What one call to an endpoint does: `opening` before the headers are there, `steps` one per read.

    A whole answer is all events of `steps` at once. After the last step the stream ends cleanly.
    """

    steps: tuple[Step, ...] = ()
    opening: tuple[Step, ...] = ()


def says(*texts: str, model: str = "model", tokens: int = 7) -> Script:
    """A clean answer: a batch with the start, one per text, one with finish and usage."""
    deltas: tuple[Step, ...] = tuple([TextDelta(text)] for text in texts)
    last: list[Event] = [Finish(FinishReason.STOP, "stop"), Usage(5, tokens, 5 + tokens)]
    return Script((([Start("id-1", model)]), *deltas, last))


def fails(kind: FailureKind, message: str = "it broke", retry_after: float | None = None) -> Script:
    """Fails before the headers are there."""
    return Script(opening=(Failure(kind, message, status=500, retry_after=retry_after),))


class FakeUpstream:
    """Plays the next script of an endpoint at each call; the last one again and again.

    `journal` holds (what, endpoint id) for call, open, close and cancelled, in order. `open_streams` are
    those opened and neither ended nor closed.
    """

    def __init__(self, clock: FakeClock, scripts: Mapping[str, Script | Sequence[Script]]) -> None:
        self._clock = clock
        self._scripts = {
            name: [script] if isinstance(script, Script) else list(script) for name, script in scripts.items()
        }
        self.journal: list[tuple[str, str]] = []
        self.generations: list[Generation] = []
        self.contexts: list[CallContext] = []
        self.open_streams = 0

    def asked(self) -> list[str]:
        """The endpoints called, in order."""
        return [name for what, name in self.journal if what in ("call", "open")]

    async def call(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> Sequence[Event]:
        """A whole answer from the next script."""
        script = self._begin("call", endpoint, generation, context)
        events: list[Event] = []
        for step in (*script.opening, *script.steps):
            events += await self.play(step, endpoint)
        return events

    async def open(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> ScriptedSource:
        """A stream from the next script."""
        script = self._begin("open", endpoint, generation, context)
        for step in script.opening:
            await self.play(step, endpoint)
        self.open_streams += 1
        return ScriptedSource(self, endpoint, script.steps)

    def _begin(self, what: str, endpoint: Endpoint, generation: Generation, context: CallContext) -> Script:
        self.journal.append((what, endpoint.id))
        self.generations.append(generation)
        self.contexts.append(context)
        scripts = self._scripts[endpoint.id]
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]

    async def play(self, step: Step, endpoint: Endpoint) -> Sequence[Event]:
        """The step's events, or its failure, or its time."""
        if isinstance(step, Failure):
            raise UpstreamError(step)
        if isinstance(step, ServiceError):
            raise step
        if isinstance(step, Pause):
            await self._clock.sleep(step.seconds)
            return ()
        if isinstance(step, Hang):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.journal.append(("cancelled", endpoint.id))
                raise
        assert not isinstance(step, Hang)
        return step


class ScriptedSource:
    """One stream of a FakeUpstream."""

    def __init__(self, upstream: FakeUpstream, endpoint: Endpoint, steps: tuple[Step, ...]) -> None:
        self._upstream = upstream
        self._endpoint = endpoint
        self._steps = list(steps)
        self._live = True
        self.settled: list[float] = []

    async def next(self) -> Sequence[Event]:
        """The next step's events; pauses pass on the way."""
        assert self._live, "read after the end, a failure or a close"
        while self._steps:
            step = self._steps.pop(0)
            try:
                events = await self._upstream.play(step, self._endpoint)
            except UpstreamError:
                self._stop()
                raise
            if not isinstance(step, Pause):
                return events
        self._stop()
        return ()

    async def settle(self, seconds: float) -> None:
        """Only remembers that it was asked."""
        self.settled.append(seconds)

    async def aclose(self) -> None:
        """Closes; in the journal only when the stream was live."""
        if self._live:
            self._upstream.journal.append(("close", self._endpoint.id))
        self._stop()

    def _stop(self) -> None:
        if self._live:
            self._live = False
            self._upstream.open_streams -= 1


class RecordingTelemetry:
    """The Telemetry port as lists."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, str, float]] = []
        self.failures: list[tuple[str, FailureKind, str, int]] = []
        self.crashes: list[tuple[str, Exception, str, int]] = []
        self.first_tokens: list[tuple[str, float]] = []
        self.usage: list[tuple[str, int, int]] = []
        self.costs: list[Cost | None] = []
        self.in_flight: dict[str, int] = {}
        self.full: list[str] = []

    def attempt(self, endpoint: Endpoint, outcome: str, seconds: float) -> None:
        """An attempt ended."""
        self.attempts.append((endpoint.id, str(outcome), seconds))

    def attempt_failed(self, endpoint: Endpoint, kind: FailureKind, request_id: str, number: int) -> None:
        """An attempt failed."""
        self.failures.append((endpoint.id, kind, request_id, number))

    def attempt_crashed(self, endpoint: Endpoint, error: Exception, request_id: str, number: int) -> None:
        """A fault of the service ended an attempt."""
        self.crashes.append((endpoint.id, error, request_id, number))

    def first_token(self, endpoint: Endpoint, seconds: float) -> None:
        """The first visible event came."""
        self.first_tokens.append((endpoint.id, seconds))

    def used(self, endpoint: Endpoint, usage: Usage) -> None:
        """Usage came."""
        self.usage.append((endpoint.id, usage.input_tokens, usage.output_tokens))
        self.costs.append(usage.cost)

    def endpoint_in_flight(self, endpoint_id: str, calls: int) -> None:
        """A counted call began or ended."""
        self.in_flight[endpoint_id] = calls

    def passed_over(self, endpoint: Endpoint) -> None:
        """An endpoint was full."""
        self.full.append(endpoint.id)

    def outcomes(self) -> list[tuple[str, str]]:
        """(endpoint, outcome) of every attempt."""
        return [(name, outcome) for name, outcome, _ in self.attempts]


class FixedHealth:
    """A HealthView as four dictionaries; what is not in them is healthy and unknown."""

    def __init__(
        self,
        *,
        scores: Mapping[str, float] | None = None,
        cooling: Mapping[str, float] | None = None,
        latencies: Mapping[str, float] | None = None,
        throughputs: Mapping[str, float] | None = None,
    ) -> None:
        self._scores = scores or {}
        self._cooling = cooling or {}
        self._latencies = latencies or {}
        self._throughputs = throughputs or {}

    def score(self, endpoint_id: str) -> float:
        """1 unless told otherwise."""
        return self._scores.get(endpoint_id, 1.0)

    def cooling_until(self, endpoint_id: str, now: float) -> float | None:
        """The given time, while it lies ahead."""
        until = self._cooling.get(endpoint_id)
        return until if until is not None and until > now else None

    def latency(self, endpoint_id: str) -> float | None:
        """As given."""
        return self._latencies.get(endpoint_id)

    def throughput(self, endpoint_id: str) -> float | None:
        """As given."""
        return self._throughputs.get(endpoint_id)


HELLO = Generation(turns=(Turn(Role.USER, (Text("hello"),)),))


def context(deadline: float = 1060.0, owner: str = "local") -> CallContext:
    """A call that has until `deadline` on the fake clock."""
    return CallContext(Principal(owner), "req-1", deadline)
