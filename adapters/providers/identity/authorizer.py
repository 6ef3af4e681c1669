"""The port of identities: what stands between a built call and its sending. No HTTP, no failure kinds."""

from __future__ import annotations

from typing import Protocol

from multidict import CIMultiDict


class Authorizer(Protocol):
    """Tells one provider who we are, call by call. Belongs to one event loop."""

    async def sign(self, url: str, headers: CIMultiDict[str], body: bytes, until: float) -> tuple[str, ...]:
        """Adds headers for a POST of `body` to `url`, which is sent as it stands here.

        Returns the secrets that `headers` now hold. `until`, a time of the event loop, bounds the wait.

        Raises:
            TokenError: nothing was given to sign with.
            LateError: it was not given in time.
            SecretError: a reference does not resolve.
        """
        ...

    def refused(self) -> None:
        """The provider does not know us by what was signed with: what is held is forgotten, unless it is new."""
        ...

    async def aclose(self) -> None:
        """Ends what is under way."""
        ...
