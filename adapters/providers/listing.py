"""GETs a provider's model list for discovery: rare, small and apart from the pool that calls use."""

from __future__ import annotations

from typing import Final

import httpx
import orjson
from multidict import CIMultiDict

from adapters.providers import auth
from adapters.providers.secrets import Secrets
from service.domain.catalog import Provider

_MOST: Final = 8 * 1024 * 1024


class Listing:
    """Calls as a `Get` of adapters.catalog."""

    def __init__(self, secrets: Secrets, user_agent: str) -> None:
        self._secrets = secrets
        self._user_agent = user_agent

    async def __call__(self, provider: Provider, path: str) -> object:
        """The decoded JSON of GET `path` below the provider's base URL.

        Raises:
            httpx.HTTPError: it is not reached, or answers with another status than 2xx.
            ValueError: the answer is too large or no JSON.
            SecretError: its key is missing.
        """
        headers: CIMultiDict[str] = CIMultiDict({"user-agent": self._user_agent})
        secret = self._secrets.resolve(provider.auth.secret) if provider.auth.kind != "none" else ""
        query = auth.apply(provider.auth, secret, headers)
        url = f"{provider.base_url.rstrip('/')}{path}{'?' + query if query else ''}"
        timeout = httpx.Timeout(10.0, connect=provider.timeouts.connect)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            answer = await client.get(url, headers=dict(headers))
        answer.raise_for_status()
        if len(answer.content) > _MOST:
            raise ValueError("the list of models is too large")
        return orjson.loads(answer.content)
