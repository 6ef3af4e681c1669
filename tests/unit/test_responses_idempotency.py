"""The key that a response in the foreground holds: reserved in time, given back however its call ends."""

from __future__ import annotations

import asyncio

import pytest

from service.api.responses.idempotency import Reservation, Reservations, idempotency_of, made_before
from service.domain.errors import Reason, ServiceError
from service.domain.idempotency import Conflict, Idempotency, Repeated, Reserved, Running
from service.domain.stored import StoreError
from tests.support.response_requests import request
from tests.support.upstreams import context

RESPONSE_ID = "resp_" + "0" * 36


class GatedKeys:
    """Gives `outcome`, or fails with `error`; each call waits until `gate` is set."""

    def __init__(self, outcome: Reserved | Repeated | Conflict | Running | None = None) -> None:
        self.outcome = outcome or Reserved()
        self.error: StoreError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.reserved: list[tuple[str, str, str, float]] = []
        self.released: list[tuple[str, str, str]] = []

    async def reserve(
        self, owner: str, idempotency: Idempotency, response_id: str, seconds: float
    ) -> Reserved | Repeated | Conflict | Running:
        self.reserved.append((owner, idempotency.key, response_id, seconds))
        await self._wait()
        return self.outcome

    async def find(
        self, owner: str, idempotency: Idempotency, *, gone: bool = False
    ) -> Repeated | Conflict | Running | None:
        await self._wait()
        return None if isinstance(self.outcome, Reserved) else self.outcome

    async def free(self, owner: str, key: str, response_id: str) -> None:
        await self._wait()

    async def release(self, owner: str, key: str, response_id: str) -> None:
        await self._wait()
        self.released.append((owner, key, response_id))

    async def _wait(self) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error


MINE = ("local", "k", RESPONSE_ID)


async def reserve(keys: GatedKeys, now: float = 1000.0) -> Reservation | Repeated:
    return await Reservations(keys, lambda: now).reserve("k", request(), RESPONSE_ID, context())


async def settle() -> None:
    """Lets tasks of the background run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("now", "seconds"), [(1000.0, 60.0), (1059.5, 0.5), (1070.0, 0.0)])
async def test_a_key_is_reserved_until_the_calls_deadline(now: float, seconds: float) -> None:
    keys = GatedKeys()
    assert isinstance(await reserve(keys, now), Reservation)
    assert keys.reserved == [(*MINE, seconds)]


async def test_a_released_key_is_given_back_once_and_a_kept_one_never() -> None:
    keys = GatedKeys()
    held = await reserve(keys)
    assert isinstance(held, Reservation)
    await held.release()
    await held.release()
    assert keys.released == [MINE]
    kept = await reserve(keys)
    assert isinstance(kept, Reservation)
    kept.kept()
    await kept.release()
    assert keys.released == [MINE]


async def test_a_release_goes_on_when_its_caller_is_cancelled() -> None:
    keys = GatedKeys()
    held = await reserve(keys)
    assert isinstance(held, Reservation)
    keys.gate.clear()
    releasing = asyncio.create_task(held.release())
    await settle()
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    keys.gate.set()
    await settle()
    assert keys.released == [MINE]


async def test_a_caller_who_leaves_while_the_key_is_reserved_leaves_no_reservation() -> None:
    keys = GatedKeys()
    keys.gate.clear()
    reserving = asyncio.create_task(reserve(keys))
    await settle()
    reserving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reserving
    keys.gate.set()
    await settle()
    assert keys.released == [MINE]


async def test_a_database_that_fails_is_told_and_a_release_that_fails_hides_no_other_error() -> None:
    keys = GatedKeys()
    held = await reserve(keys)
    assert isinstance(held, Reservation)
    keys.error = StoreError("gone")
    await held.release()
    with pytest.raises(ServiceError) as caught:
        await reserve(keys)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    with pytest.raises(ServiceError) as caught:
        await made_before(keys, "local", idempotency_of("k", request()))
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    await settle()


@pytest.mark.parametrize(
    ("outcome", "reason", "retry_after"),
    [
        (Conflict("resp_1"), Reason.IDEMPOTENCY_CONFLICT, None),
        (Running(7.0), Reason.IDEMPOTENCY_IN_PROGRESS, 7.0),
    ],
)
async def test_a_key_that_is_taken_is_an_error_that_names_it(
    outcome: Conflict | Running, reason: Reason, retry_after: float | None
) -> None:
    keys = GatedKeys(outcome)
    for asking in (reserve(keys), made_before(keys, "local", idempotency_of("k", request()))):
        with pytest.raises(ServiceError) as caught:
            await asking
        failure = caught.value
        assert (failure.reason, failure.retry_after) == (reason, retry_after)
        assert failure.may_retry is (retry_after is not None)
        assert [violation.path for violation in failure.violations] == ["idempotency-key"]


async def test_a_repeat_names_the_response_that_was_made() -> None:
    keys = GatedKeys(Repeated("resp_1"))
    assert await reserve(keys) == Repeated("resp_1")
    assert not keys.released


def test_the_digest_is_of_what_is_asked_and_not_of_how_it_is_written_or_delivered() -> None:
    plain = idempotency_of("k", request())
    assert plain == idempotency_of("k", request(stream=True, stream_options={"include_obfuscation": False}))
    assert plain == idempotency_of("k", request(store=True, top_p=1.0, truncation="disabled", tool_choice="auto"))
    assert plain == idempotency_of("k", request(text={"format": {"type": "text"}}, service_tier="auto"))
    labels = {"a": "1", "b": "2"}
    turned = dict(reversed(labels.items()))
    assert idempotency_of("k", request(metadata=labels)) == idempotency_of("k", request(metadata=turned))
    for fields in (
        {"input": "other"},
        {"background": True},
        {"store": False},
        {"tool_choice": "none"},
        {"text": {"format": {"type": "json_object"}}},
        {"provider": {"only": ["alpha"]}},
        {"include": ["reasoning.encrypted_content"]},
    ):
        assert idempotency_of("k", request(**fields)).digest != plain.digest
