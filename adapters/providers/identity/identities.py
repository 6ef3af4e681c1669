"""One authorizer for each identity of the catalogue, made when it is first needed, and its failures as ours."""

from __future__ import annotations

from typing import assert_never

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


class Identities:
    """Belongs to one event loop; `aclose` it there. Providers with the same row of auth share one token."""

    def __init__(self, secrets: Secrets, ca_file: str | None = None) -> None:
        self._secrets = secrets
        self._ca_file = ca_file
        self._made: dict[CloudAuth, Authorizer] = {}

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
            failure = Failure(FailureKind.AUTH, f"provider {bounds.slug} has no credentials: {error}")
        # Raised out here so that no chain leads to exceptions that hold a secret.
        raise UpstreamError(failure)

    async def aclose(self) -> None:
        """Ends what is under way."""
        made, self._made = self._made, {}
        for authorizer in made.values():
            await authorizer.aclose()

    def _of(self, auth: CloudAuth) -> Authorizer:
        known = self._made.get(auth)
        if known is None:
            known = self._made[auth] = self._make(auth)
        return known

    def _make(self, auth: CloudAuth) -> Authorizer:
        match auth:
            case AwsAuth():
                return AwsSigner(auth, self._secrets)
            case EntraAuth():
                return BearerTokens(EntraTokens(auth, self._secrets, self._ca_file))
            case GoogleAuth():
                return BearerTokens(GoogleTokens(auth, self._secrets, self._ca_file))
        assert_never(auth)
