"""Idempotency keys: what makes two requests the same, and the key that a response in the foreground holds."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from eurouter.v1 import chat_pb2, tools_pb2
from eurouter.v1 import responses_pb2 as pb

from service.api.responses.history import unavailable
from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError, Violation
from service.domain.idempotency import Conflict, Idempotency, IdempotencyKeys, Repeated, Reserved, Running
from service.domain.stored import StoreError

Asked = TypeVar("Asked", pb.CreateResponseRequest, chat_pb2.CreateChatCompletionRequest)

FIELD: Final = "idempotency-key"
"""The header, which is also the name of the metadata."""

_NOT_RELEASED: Final = "idempotency_key_not_released"
_SOON: Final = 1.0

# What the API says of fields that a request leaves out.
_DEFAULTS: Final = pb.CreateResponseRequest(
    store=True,
    background=False,
    parallel_tool_calls=True,
    temperature=1.0,
    top_p=1.0,
    top_logprobs=0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    truncation="disabled",
    service_tier="auto",
)
_DEFAULTS.text.format.text.SetInParent()
_DEFAULTS.tool_choice.mode = tools_pb2.TOOL_CHOICE_MODE_AUTO


def idempotency_of(key: str, request: pb.CreateResponseRequest) -> Idempotency:
    """The key with the digest of its request, in which a field that says its default counts as left out."""
    return Idempotency(key, hashlib.sha256(canonical(request, _DEFAULTS)).digest())


def canonical(request: Asked, defaults: Asked) -> bytes:
    """What a request asks for: equal for requests that differ only in saying `defaults` or leaving them out.

    How an answer travels (stream, stream_options) is no part of it. `defaults` has no repeated fields.
    """
    whole = type(request)()
    whole.CopyFrom(defaults)
    whole.MergeFrom(request)
    whole.ClearField("stream")
    whole.ClearField("stream_options")
    return whole.SerializeToString(deterministic=True)


class Reservation:
    """A key that waits for its response. Call `release` in any case; a key that was `kept` stays."""

    __slots__ = ("_keys", "_over", "_owner", "_response_id", "idempotency")

    def __init__(self, keys: IdempotencyKeys, owner: str, idempotency: Idempotency, response_id: str) -> None:
        self.idempotency = idempotency
        self._keys = keys
        self._owner = owner
        self._response_id = response_id
        self._over = False

    def kept(self) -> None:
        """The response is stored with its key."""
        self._over = True

    async def release(self) -> None:
        """Gives the key back. Idempotent; goes on when whoever waits for it is cancelled."""
        if not self._over:
            await asyncio.shield(self.leave())

    def leave(self) -> asyncio.Task[None]:
        """The same, without waiting."""
        self._over = True
        task = asyncio.create_task(self._release())
        _RELEASING.add(task)
        task.add_done_callback(_RELEASING.discard)
        return task

    async def _release(self) -> None:
        try:
            await self._keys.release(self._owner, self.idempotency.key, self._response_id)
        except StoreError as error:
            # It lapses by itself.
            structlog.get_logger().warning(_NOT_RELEASED, error=str(error))


# Event loops hold tasks weakly.
_RELEASING: Final[set[asyncio.Task[None]]] = set()


class Reservations:
    """Keys for responses that are about to be made. One per process; `clock` is that of deadlines."""

    def __init__(self, keys: IdempotencyKeys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock

    async def reserve(
        self, key: str, request: pb.CreateResponseRequest, response_id: str, context: CallContext
    ) -> Reservation | Repeated:
        """The key for the response that is about to be made, until the call's deadline; or what was made before.

        Raises:
            ServiceError: IDEMPOTENCY_CONFLICT, IDEMPOTENCY_IN_PROGRESS, STORE_UNAVAILABLE.
        """
        owner = context.principal.owner
        idempotency = idempotency_of(key, request)
        reservation = Reservation(self._keys, owner, idempotency, response_id)
        seconds = max(0.0, context.deadline - self._clock())
        try:
            outcome = await self._keys.reserve(owner, idempotency, response_id, seconds)
        except BaseException as error:
            # Whether it was reserved is not known.
            reservation.leave()
            if isinstance(error, StoreError):
                raise unavailable(error) from error
            raise
        return reservation if isinstance(outcome, Reserved) else _repeated(outcome)


async def made_before(keys: IdempotencyKeys, owner: str, idempotency: Idempotency) -> Repeated | None:
    """What the same request made under its key; None: the key is free.

    Raises:
        ServiceError: IDEMPOTENCY_CONFLICT, IDEMPOTENCY_IN_PROGRESS, STORE_UNAVAILABLE.
    """
    try:
        outcome = await keys.find(owner, idempotency)
    except StoreError as error:
        raise unavailable(error) from error
    return None if outcome is None else _repeated(outcome)


def _repeated(outcome: Repeated | Conflict | Running) -> Repeated:
    match outcome:
        case Repeated():
            return outcome
        case Conflict():
            raise reused()
        case Running(retry_after=seconds):
            why = "the same request under this key is still being answered: send it again later"
            raise _problem(Reason.IDEMPOTENCY_IN_PROGRESS, why, seconds)


def reused() -> ServiceError:
    """The error for a key that came with another request before."""
    why = "was used for another request: use a new key for a new request"
    return _problem(Reason.IDEMPOTENCY_CONFLICT, why)


def lost() -> ServiceError:
    """The error for a response that took longer than its key was reserved for."""
    why = "another call has taken the key since this one's deadline: send it again for that one's response"
    return _problem(Reason.IDEMPOTENCY_IN_PROGRESS, why, _SOON)


def _problem(reason: Reason, why: str, retry_after: float | None = None) -> ServiceError:
    violations = (Violation(FIELD, why),)
    return ServiceError(reason, f"{FIELD}: {why}", violations=violations, retry_after=retry_after)
