"""One streamed response between its events and the store: what is told when, and what a caller who leaves ends."""

from __future__ import annotations

import asyncio

import pytest
from eurouter.v1 import response_object_pb2 as object_pb

from adapters.health import OutcomeHealth
from service.api.opened import Opened
from service.api.responses.keeping import Keeper, Keeping
from service.api.responses.stream import ResponseStream
from service.api.responses.writer import ResponseWriter
from service.coalesce import Coalescer
from service.domain.errors import Reason, ServiceError
from service.domain.events import Start, TextDelta
from service.domain.failure import Failure, FailureKind
from service.domain.idempotency import Idempotency
from service.domain.preferences import Policy
from service.domain.routing import Needs, WantedModel
from service.domain.selection import Selection
from service.domain.stored import Chain, NewResponse, StoredResponse, StoreError
from service.router import Router
from tests.support.catalogs import endpoint, model
from tests.support.response_requests import read
from tests.support.upstreams import (
    HELLO,
    FakeClock,
    FakeUpstream,
    Hang,
    Pause,
    RecordingTelemetry,
    Script,
    context,
    says,
)

A = endpoint("a")
RESPONSE_ID = "resp_" + "0" * 36


class GatedStore:
    """Rows in memory; an insert waits until `gate` is set, or fails with `error`."""

    def __init__(self) -> None:
        self.rows: list[NewResponse] = []
        self.gate = asyncio.Event()
        self.error: StoreError | None = None

    async def insert(self, new: NewResponse, idempotency: Idempotency | None = None) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.rows.append(new)

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        raise NotImplementedError

    async def chain(self, owner: str, response_id: str, *, max_depth: int, max_bytes: int) -> Chain:
        raise NotImplementedError

    async def delete(self, owner: str, response_id: str) -> bool:
        raise NotImplementedError

    async def sweep(self, limit: int) -> int:
        raise NotImplementedError


class World:
    """A stream with everything around it."""

    def __init__(self, script: Script, commit_wait: float = 15.0) -> None:
        clock = FakeClock()
        self.store = GatedStore()
        self.upstream = FakeUpstream(clock, {A.id: script})
        router = Router(
            self.upstream, OutcomeHealth(clock=clock), RecordingTelemetry(), clock=clock, sleep=clock.sleep
        )
        selection = Selection((WantedModel(model("vendor/model", A)),), Policy())
        run = router.open(HELLO, Needs(), selection, context())
        keeper = Keeper(self.store, "owner", read(), (), Keeping(store=True, retention=60.0))
        self.stream = ResponseStream(Opened(run, Coalescer(run, lambda: 0.0), commit_wait), _writer, keeper)

    async def arms(self) -> list[str]:
        """The kinds of events of the next batch."""
        return [event.WhichOneof("event") or "" for event in await self.stream.next()]


def _writer(name: str) -> ResponseWriter:
    response = object_pb.Response(id=RESPONSE_ID, model=name)
    return ResponseWriter(response, first_position=0, clock=lambda: 0.0, show_encrypted=False)


@pytest.mark.parametrize(
    ("script", "status"),
    [(says("hi"), "completed"), (Script(([TextDelta("a")], Failure(FailureKind.CUT, "cut"))), "failed")],
    ids=["completed", "failed"],
)
async def test_the_terminal_event_waits_until_the_response_can_be_read(script: Script, status: str) -> None:
    world = World(script)
    await world.stream.start()
    arms: list[str] = []

    async def follow() -> None:
        while status not in arms:
            arms.extend(await world.arms())

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.02)
    assert "output_text_delta" in arms
    assert status not in arms
    world.store.gate.set()
    await following
    assert [row.status for row in world.store.rows] == [status]
    await world.stream.aclose()


async def test_a_response_that_can_not_be_stored_has_no_terminal_event() -> None:
    world = World(says("hi"))
    world.store.error = StoreError("the disk is full")
    world.store.gate.set()
    await world.stream.start()
    arms: list[str] = []
    with pytest.raises(ServiceError) as caught:
        while batch := await world.arms():
            arms += batch
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert (arms[-1], "completed" in arms) == ("error", False)
    await world.stream.aclose()


async def test_closing_between_two_reads_ends_the_upstream_call_and_stores_nothing() -> None:
    world = World(Script(([Start("id", "m"), TextDelta("a")], Hang())))
    world.store.gate.set()
    await world.stream.start()
    assert "output_text_delta" in await world.arms()
    await world.stream.aclose()
    await world.stream.aclose()
    assert world.upstream.open_streams == 0
    assert world.store.rows == []
    assert await world.stream.next() == ()


async def test_a_failure_after_the_headers_and_before_any_output_is_told_as_events_too() -> None:
    late = Script(opening=(*[Pause(0.0)] * 50, Failure(FailureKind.INVALID_REQUEST, "no")))
    world = World(late, commit_wait=0.0)
    world.store.gate.set()
    await world.stream.start()
    # Headers are written meanwhile.
    await asyncio.sleep(0.02)
    arms = await world.arms()
    assert (arms[0], arms[-1]) == ("created", "failed")
    with pytest.raises(ServiceError):
        await world.stream.next()
    await world.stream.aclose()
