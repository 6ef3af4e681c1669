"""Something that expires, held until shortly before: one renewal at a time for all who need it. No cloud here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_LIMIT: Final = 30.0
_AGAIN: Final = 10.0
_AGAIN_WITHOUT: Final = 1.0
_YOUNG: Final = 10.0


class TokenError(Exception):
    """No token or credentials are to be had. The text says what to do, never a secret."""


class LateError(Exception):
    """The call's own time was over before there was a token."""


@dataclass(frozen=True, slots=True)
class Grant(Generic[T]):
    """What was given, from when a new one should be asked for, and until when it is valid (Unix seconds)."""

    value: T
    renew_at: float
    expires_at: float


class Held(Generic[T]):
    """Belongs to one event loop. `fetch` may take its time: nobody waits for it while what is held is valid."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Grant[T]]],
        *,
        clock: Callable[[], float] = time.time,
        limit: float = _LIMIT,
    ) -> None:
        """`fetch` raises TokenError; it is given `limit` seconds."""
        self._fetch = fetch
        self._clock = clock
        self._limit = limit
        self._grant: Grant[T] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._failed = ""
        self._not_before = 0.0
        self._given_at = 0.0
        self._closed = False

    def now(self) -> T | None:
        """What is held, when it is valid; begins its renewal when that is due."""
        grant, now = self._grant, self._clock()
        if grant is None or now >= grant.expires_at:
            return None
        if now >= grant.renew_at and now >= self._not_before and not self._closed:
            self._renew()
        return grant.value

    async def get(self, until: float) -> T:
        """What is held, else what is given next. `until` is a time of the event loop.

        Raises:
            TokenError: nothing was given.
            LateError: it was not given before `until`.
        """
        while True:
            value = self.now()
            if value is not None:
                return value
            if self._renewal is None and self._failed and self._clock() < self._not_before:
                # Whoever gives tokens is not asked again for every single call that needs one.
                raise TokenError(self._failed)
            if self._closed:
                raise TokenError("nobody gives any now: this service ends, or the catalogue has another row")
            renewal = self._renew()
            # The renewal is everybody's: it goes on when one who waits for it leaves.
            seconds = until - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait((renewal,), timeout=max(seconds, 0.0))
            if not done:
                raise LateError
            if self._failed:
                raise TokenError(self._failed)

    def forget(self) -> bool:
        """What is held was refused: whoever needs it next asks for another. Returns whether it did.

        What was given a moment ago stays: the refusal may be of what was held before it, and a provider that
        refuses everything must not have a new one asked for with every call.
        """
        if self._grant is None or self._clock() < self._given_at + _YOUNG:
            return False
        self._grant = None
        return True

    async def aclose(self) -> None:
        """Ends a renewal that is under way; none begins any more."""
        self._closed = True
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renew(self) -> asyncio.Task[None]:
        if self._renewal is None:
            self._renewal = asyncio.ensure_future(self._ask())
        return self._renewal

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(self._limit):
                grant = await self._fetch()
            if self._clock() >= grant.expires_at:
                # Asking again at once would give the same, for ever.
                raise TokenError("what was given had expired already: compare this machine's clock")
            self._grant, self._failed, self._not_before = grant, "", 0.0
            self._given_at = self._clock()
        except TokenError as error:
            self._fail(str(error))
        except TimeoutError:
            self._fail(f"whoever gives them did not answer within {self._limit:g} s")
        except Exception as error:  # noqa: BLE001 - a library of a cloud may raise anything
            self._fail(f"they could not be had ({type(error).__name__})")
        finally:
            self._renewal = None

    def _fail(self, text: str) -> None:
        now = self._clock()
        valid = self._grant is not None and now < self._grant.expires_at
        self._not_before = now + (_AGAIN if valid else _AGAIN_WITHOUT)
        self._failed = text
