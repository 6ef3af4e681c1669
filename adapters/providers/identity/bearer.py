"""Bearer tokens that expire, whoever gives them: held, and put where a token belongs."""

from __future__ import annotations

import time
from typing import Final, Protocol

from multidict import CIMultiDict

from adapters.providers.identity.held import Grant, Held

_EARLY: Final = 300.0


class TokenSource(Protocol):
    """Gives tokens."""

    async def fetch(self) -> Grant[str]:
        """A new token.

        Raises:
            TokenError: there is none.
        """
        ...

    def forget(self) -> None:
        """What was given last was refused: the next is a new one, not the same again."""
        ...

    async def aclose(self) -> None:
        """Ends its connections."""
        ...


class BearerTokens:
    """`Authorizer` by a token source."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._held = Held(source.fetch)

    async def sign(
        self,
        url: str,  # noqa: ARG002 - a token is for every call
        headers: CIMultiDict[str],
        body: bytes,  # noqa: ARG002
        until: float,
    ) -> tuple[str, ...]:
        """See `Authorizer`."""
        token = self._held.now() or await self._held.get(until)
        headers["authorization"] = f"Bearer {token}"
        return (token,)

    def refused(self) -> None:
        """See `Authorizer`."""
        if self._held.forget():
            self._source.forget()

    async def aclose(self) -> None:
        """See `Authorizer`."""
        await self._held.aclose()
        await self._source.aclose()


def grant_of(token: str, expires_at: float) -> Grant[str]:
    """A token's grant: renewed five minutes before its end, or after half of a shorter life."""
    left = expires_at - time.time()
    return Grant(token, expires_at - min(_EARLY, left / 2), expires_at)
