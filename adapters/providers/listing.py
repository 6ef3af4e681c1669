"""GETs a provider's model list for discovery: rare, small and apart from the pool that calls use."""

from __future__ import annotations

from typing import Final

import httpx
import orjson
from multidict import CIMultiDict

from adapters.providers import auth
from adapters.providers.http import trusting
from adapters.providers.secrets import Secrets
from service.domain.catalog import Auth, Provider

_MOST: Final = 8 * 1024 * 1024


class ListingError(Exception):
    """A provider's list of models can't be had; the text holds no address, which may carry a key."""


class Listing:
    """Calls as a `Get` of adapters.catalog. `ca_file`: as in `HttpSettings`."""

    def __init__(self, secrets: Secrets, user_agent: str, *, ca_file: str | None = None) -> None:
        self._secrets = secrets
        self._user_agent = user_agent
        self._tls = trusting(ca_file)

    async def __call__(self, provider: Provider, path: str) -> object:
        """The decoded JSON of GET `path` below the provider's base URL.

        Raises:
            ListingError: it is not reached, answers with another status than 2xx, too much or no JSON.
            SecretError: its key is missing.
        """
        headers: CIMultiDict[str] = CIMultiDict({"user-agent": self._user_agent})
        if not isinstance(provider.auth, Auth):
            raise ListingError(f"it can't be asked with auth kind {provider.auth.kind}")
        secret = self._secrets.resolve(provider.auth.secret) if provider.auth.kind != "none" else ""
        query = auth.apply(provider.auth, secret, headers)
        url = f"{provider.base_url.rstrip('/')}{path}{'?' + query if query else ''}"
        try:
            return orjson.loads(await self._get(url, headers, provider.timeouts.connect))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            failure = f"it is not reached ({type(error).__name__})"
        except orjson.JSONDecodeError:
            failure = "its answer is not JSON"
        # Raised out here so that no chain leads to exceptions that hold the address.
        raise ListingError(failure)

    async def _get(self, url: str, headers: CIMultiDict[str], connect: float) -> bytes:
        timeout = httpx.Timeout(10.0, connect=connect)
        async with (
            httpx.AsyncClient(timeout=timeout, trust_env=False, verify=self._tls) as client,
            client.stream("GET", url, headers=dict(headers)) as answer,
        ):
            if not answer.is_success:
                raise ListingError(f"it answers with status {answer.status_code}")
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MOST:
                    raise ListingError(f"its list is larger than {_MOST} bytes")
            return bytes(body)
