"""A cancel of a background response while something else moves it: the caller is told what it really is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from eurouter.v1 import response_object_pb2 as object_pb

from service.api.responses.background import BackgroundResponses
from service.api.responses.follow import Followers
from service.api.responses.prepare import Preparer
from service.api.responses.stored import StoredResponses
from service.api.responses.submission import Submission
from service.domain.calls import CallContext, Principal
from service.domain.errors import Reason, ServiceError
from service.domain.idempotency import IdempotencyKeys
from service.domain.job_store import Append
from service.domain.jobs import JobState
from service.domain.stored import StoredResponse
from service.router import Router
from tests.support import response_requests
from tests.support.fake_jobs import FakeJobs
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry
from tests.support.working import CalmHealth, one_endpoint

Move = Callable[["Moving"], Awaitable[object]]
CALLER = CallContext(Principal("ann"), "r", time.monotonic() + 60)


class Moving(FakeJobs):
    """A store in which something moves once, between the first read and the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.move: Move | None = None

    async def job(self, owner: str, job_id: str) -> tuple[JobState, int, int] | None:
        found = await super().job(owner, job_id)
        await self._moves()
        return found

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        found = await super().get(owner, response_id)
        await self._moves()
        return found

    async def _moves(self) -> None:
        move, self.move = self.move, None
        if move is not None:
            await move(self)


async def completed(store: Moving) -> None:
    (job,) = (await store.claim("w", 1, 30.0, 10)).run
    assert await store.finish(Append(job.id, job.epoch, job.sequence, ()), JobState.COMPLETED, job.response, None)


async def claimed(store: Moving) -> None:
    assert (await store.claim("w", 1, 30.0, 10)).run


async def deleted(store: Moving) -> None:
    assert await store.delete("ann", next(iter(store.rows)))


async def cancelled(move: Move) -> tuple[Moving, object_pb.Response]:
    """The store, and what a cancel is told while `move` comes between."""
    store = Moving()
    router = Router(FakeUpstream(FakeClock(), {}), CalmHealth(), RecordingTelemetry())
    background = BackgroundResponses(
        Preparer(one_endpoint(), store, wall_clock=time.time, new_id=lambda: "f" * 36),
        router,
        StoredResponses(store),
        store,
        cast("IdempotencyKeys", None),
        cast("Followers", None),
    )
    request = response_requests.request(background=True)
    accepted = await background.accept(request, Submission(), CALLER, streaming=False)
    store.move = move
    return store, await background.cancel(accepted.response.id, CALLER)


async def test_a_response_that_ends_during_its_cancel_is_told_as_it_ended() -> None:
    store, told = await cancelled(completed)
    assert told.status == object_pb.RESPONSE_STATUS_COMPLETED
    assert store.row().job.state is JobState.COMPLETED


async def test_a_response_that_begins_during_its_cancel_is_cancelled() -> None:
    store, told = await cancelled(claimed)
    assert told.status == object_pb.RESPONSE_STATUS_CANCELLED
    assert store.row().job.state is JobState.CANCELLED


async def test_a_response_that_is_deleted_during_its_cancel_is_not_found() -> None:
    with pytest.raises(ServiceError) as caught:
        await cancelled(deleted)
    assert caught.value.reason is Reason.RESPONSE_NOT_FOUND
