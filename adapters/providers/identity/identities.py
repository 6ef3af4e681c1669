"""One authorizer for each identity of the catalogue, made when it is first needed, and its failures as ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, assert_never

import structlog
from multidict import CIMultiDict

from adapters.providers.faults import Bounds
from adapters.providers.identity.authorizer import Authorizer
from adapters.providers.identity.aws import AwsSigner
from adapters.providers.identity.bearer import BearerTokens
from adapters.providers.identity.entra import EntraTokens
from adapters.providers.identity.google import GoogleTokens
from adapters.providers.identity.held import LateError, TokenError
from adapters.providers.secrets import SecretError, Secrets
from service.domain.cloud_auth import AwsAuth, CloudAuth, EntraAuth, GoogleAuth
from service.domain.failure import Failure, FailureKind, UpstreamError

_UNUSED: Final = 3600.0
"""Seconds without a call after which an identity may go: its row was most likely removed from the catalogue."""

IDENTITY_FAILED: Final = "identity_failed"
_QUIET: Final = 60.0
"""Seconds for which the same failure of a provider's identity is not logged again: every call meets it."""


class Identities:
    """Belongs to one event loop; `aclose` it there. Providers with the same row of auth share one token."""

    def __init__(
        self, secrets: Secrets, ca_file: str | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._secrets = secrets
        self._ca_file = ca_file
        self._clock = clock
        self._made: dict[CloudAuth, Authorizer] = {}
        self._used: dict[CloudAuth, float] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._told: dict[tuple[str, str], float] = {}
        self._log = structlog.get_logger().bind()

    async def sign(
        self, auth: CloudAuth, url: str, headers: CIMultiDict[str], body: bytes, bounds: Bounds
    ) -> tuple[str, ...]:
        """Adds to `headers` what tells the provider of `bounds` who we are; the secrets that they now hold.

        Raises:
            UpstreamError: AUTH, there is nothing to tell it with; TIMEOUT, the call's time was over before.
        """
        try:
            return await self._of(auth).sign(url, headers, body, bounds.due)
        except LateError:
            failure = bounds.late(bounds.due_to)
        except (TokenError, SecretError) as error:
            self._tell(bounds.slug, str(error))
            failure = Failure(FailureKind.AUTH, f"provider {bounds.slug} has no credentials: {error}")
        # Raised out here so that no chain leads to exceptions that hold a secret.
        raise UpstreamError(failure)

    def refused(self, auth: CloudAuth) -> None:
        """A provider answered a call that was signed by `auth` that it does not know who we are (401)."""
        known = self._made.get(auth)
        if known is not None:
            known.refused()

    async def aclose(self) -> None:
        """Ends what is under way."""
        made, self._made, self._used = self._made, {}, {}
        for authorizer in made.values():
            await authorizer.aclose()
        await asyncio.gather(*self._closing)

    def _tell(self, slug: str, why: str) -> None:
        """For the log, where callers learn only that it failed. `why` is a sentence of ours, not of a cloud."""
        now = self._clock()
        self._told = {told: when for told, when in self._told.items() if now - when < _QUIET}
        if (slug, why) not in self._told:
            self._told[slug, why] = now
            self._log.warning(IDENTITY_FAILED, provider=slug, why=why)

    def _of(self, auth: CloudAuth) -> Authorizer:
        known = self._made.get(auth)
        if known is None:
            self._drop_unused()
            known = self._made[auth] = self._make(auth)
        self._used[auth] = self._clock()
        return known

    def _drop_unused(self) -> None:
        """Whoever needs one that is gone has it made again."""
        before = self._clock() - _UNUSED
        for auth in [auth for auth, used in self._used.items() if used < before]:
            del self._used[auth]
            closing = asyncio.create_task(self._made.pop(auth).aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _make(self, auth: CloudAuth) -> Authorizer:
        match auth:
            case AwsAuth():
                return AwsSigner(auth, self._secrets)
            case EntraAuth():
                return BearerTokens(EntraTokens(auth, self._secrets, self._ca_file))
            case GoogleAuth():
                return BearerTokens(GoogleTokens(auth, self._secrets, self._ca_file))
        assert_never(auth)
