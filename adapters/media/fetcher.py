"""Fetches media over HTTP: bounded in size, time and redirects; no cookies, no credentials, no proxy.

The bytes are taken for what they are, and only where the answer says the same of them. What may be connected to is
guard.py's.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
from yarl import URL

from adapters.providers.http import trusting
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.media import FetchedMedia, MediaKind, Wanted
from service.domain.ports import MediaTelemetry

from .addresses import is_public
from .body import Body
from .errors import FetchError, Outcome
from .guard import Allow, Guard, Resolve, checked_url
from .limits import MediaLimits
from .names import Asker, LookUps, asker
from .places import Places

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_FETCHES: Final = 64
"""Of all calls of one process at a time, a quarter of one owner's; the others wait."""
_COME_AGAIN: Final = 1.0


class WebFetcher:
    """Implements `MediaFetcher`. One per process; belongs to the event loop that first fetches; close it there.

    `limits` is asked for every call. `allow` and `resolve` replace which addresses may be connected to and how
    names become addresses; `ca_file` is as in HttpSettings.
    """

    def __init__(
        self,
        telemetry: MediaTelemetry,
        limits: Callable[[], MediaLimits] = MediaLimits,
        *,
        user_agent: str = "eurouter",
        ca_file: str | None = None,
        tls: ssl.SSLContext | None = None,
        allow: Allow = is_public,
        resolve: Resolve | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._limits = limits
        self._guard = Guard(allow, resolve or LookUps())
        self._places = Places(_MOST_FETCHES)
        self._held = _Held()
        self._headers = {"user-agent": user_agent, "accept-encoding": "identity"}
        self._ca_file = ca_file
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, wanted: Sequence[Wanted], seconds: float, owner: str) -> Sequence[FetchedMedia]:
        """What stands at each of the addresses, in their order; `owner` is whom the call is for.

        Raises:
            ServiceError: INVALID_REQUEST that names the path of one that can't be had, whoever's fault that is;
                NO_ENDPOINT_AVAILABLE while calls hold as much as they may together, or fetch as many.
        """
        limits = self._limits()
        if len(wanted) > limits.max_count:
            raise invalid(
                wanted[limits.max_count].path, f"is one address more than the {limits.max_count} allowed"
            )
        call = _Call(limits, asyncio.get_running_loop().time() + seconds, owner, self._held)
        tasks = [asyncio.create_task(self._counted(each, call)) for each in wanted]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._held.size -= call.size
            raise

    def release(self, media: Sequence[FetchedMedia]) -> None:
        """The call that these were fetched for is over."""
        self._held.size -= sum(each.size for each in media)

    async def aclose(self) -> None:
        """Closes what is open. Idempotent."""
        if self._session is not None:
            await self._session.close()

    async def _counted(self, wanted: Wanted, call: _Call) -> FetchedMedia:
        outcome: Outcome = "cancelled"
        size, begun, why = 0, 0.0, ""
        asking = Asker(call.owner)
        # This runs in a task of its own: nobody else sees it.
        asker.set(asking)
        try:
            async with call.places, asyncio.timeout_at(call.until), self._places.held(call.owner):
                begun = time.monotonic()
                async with asyncio.timeout_at(call.due()):
                    media = await self._followed(wanted, call)
        except FetchError as error:
            outcome, why = error.outcome, error.message
        except TimeoutError:
            if not begun or asking.waits:
                outcome, why = (
                    "no_room",
                    "what calls have by address is as much as is fetched at a time; try again",
                )
            else:
                outcome, why = "timeout", f"could not be fetched within {call.limits.seconds:.3g} seconds"
        except (aiohttp.ClientError, OSError, ValueError):
            # Their words hold addresses, and with them perhaps what grants access to what stands there.
            outcome, why = "unreachable", "could not be fetched: its host can't be reached or breaks off"
        else:
            outcome, size = "ok", media.size
            return media
        finally:
            if begun:
                self._telemetry.fetched(wanted.kind, outcome, size, time.monotonic() - begun)
        # Raised out here so that no chain leads to exceptions that hold the address.
        if outcome == "no_room":
            raise ServiceError(Reason.NO_ENDPOINT_AVAILABLE, why, retry_after=_COME_AGAIN)
        raise invalid(wanted.path, f"{why}; send the bytes themselves, or mend the address")

    async def _followed(self, wanted: Wanted, call: _Call) -> FetchedMedia:
        url = checked_url(wanted.url, call.limits)
        for _ in range(call.limits.redirects + 1):
            # `url` was parsed once: what was checked of it is what is asked.
            response = await self._client().get(url, allow_redirects=False, headers=self._headers)
            try:
                if response.status not in _REDIRECTS:
                    return await _answer(response, wanted.kind, call)
                url = checked_url(_next(url, response.headers.get("location", "")), call.limits)
            finally:
                # What is left of the body is nobody's; reading on would be the host's choice.
                response.close()
        raise FetchError("redirects", f"redirects more than {call.limits.redirects} times")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._guard.connector(self._tls or trusting(self._ca_file)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _Held:
    """How many fetched bytes all calls hold."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class _Call:
    """What the fetches of one call share: `size` bytes came so far; all end at `until`, on the loop's clock."""

    __slots__ = ("_held", "limits", "owner", "places", "size", "until")

    def __init__(self, limits: MediaLimits, until: float, owner: str, held: _Held) -> None:
        self.limits = limits
        self.until = until
        self.owner = owner
        self.size = 0
        self.places = asyncio.Semaphore(limits.parallel)
        self._held = held

    def due(self) -> float:
        """When a fetch that begins now has to be over."""
        return min(self.until, asyncio.get_running_loop().time() + self.limits.seconds)

    def take(self, size: int) -> None:
        """So many bytes come.

        Raises:
            FetchError: too_large; no_room, together with those of other calls.
        """
        most = self.limits.max_call_bytes
        if self.size + size > most:
            raise FetchError(
                "too_large", f"makes more than {most} bytes with what else the request has by address"
            )
        if self._held.size + size > self.limits.max_held_bytes:
            raise FetchError("no_room", "what calls have by address takes all the room there is for it; try again")
        self.size += size
        self._held.size += size


def _next(url: URL, location: str) -> str:
    try:
        return str(url.join(URL(location)))
    except ValueError:
        raise FetchError("bad_address", "redirects to what is no address") from None


async def _answer(response: aiohttp.ClientResponse, kind: MediaKind, call: _Call) -> FetchedMedia:
    if response.status != 200:
        raise FetchError("status", f"could not be fetched: its host answers {response.status}")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchError("wrong_type", "comes compressed, which was not asked for")
    body = Body(kind, response.headers.get("content-type", ""))
    most = call.limits.max_bytes
    if (response.content_length or 0) > most:
        raise _too_large(most)
    async for chunk in response.content.iter_any():
        if body.size + len(chunk) > most:
            raise _too_large(most)
        call.take(len(chunk))
        body.feed(chunk)
    return body.finish()


def _too_large(most: int) -> FetchError:
    return FetchError("too_large", f"is larger than {most} bytes")
