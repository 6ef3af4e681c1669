"""Tokens of Google by google-auth: a service account's key, a federation, or default credentials."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

import httpx
import orjson

from adapters.providers.http import trusting
from adapters.providers.identity.bearer import grant_of
from adapters.providers.identity.held import Grant, TokenError
from adapters.providers.secrets import SecretError, Secrets
from adapters.threads import in_thread
from service.domain.cloud_auth import GoogleAuth

_WORD: Final = re.compile(r"\b(?:invalid|unauthorized|access|unsupported)_[a-z_]{3,30}\b")
_SECONDS: Final = 10.0


class GoogleTokens:
    """`TokenSource` of Google. `ca_file`: authorities to trust in place of the usual ones."""

    def __init__(self, auth: GoogleAuth, secrets: Secrets, ca_file: str | None = None) -> None:
        self._auth = auth
        self._secrets = secrets
        # Any: the library declares its own transport's class.
        self._transport: Any = _Transport(trusting(ca_file))
        self._by = ""
        self._credentials: Any = None

    async def fetch(self) -> Grant[str]:
        """See `TokenSource`. The library waits on its sockets: it does so in a thread."""
        return await in_thread(self._ask, "identity")

    def forget(self) -> None:
        """See `TokenSource`: every fetch asks for a new one."""

    async def aclose(self) -> None:
        """See `TokenSource`: it has no connections that last."""

    def _ask(self) -> Grant[str]:
        from google.auth.exceptions import GoogleAuthError

        failure = ""
        try:
            credentials = self._current()
            credentials.refresh(self._transport)
        except SecretError as error:
            failure = str(error)
        except GoogleAuthError as error:
            found = _WORD.search(str(error))
            failure = self._why(found[0] if found else type(error).__name__)
        except (ValueError, KeyError, TypeError):
            failure = f"{self._auth.secret} is no credentials document that Google's library takes"
        if failure:
            # Raised out here: the library's exceptions hold what was sent and answered.
            raise TokenError(failure)
        return grant_of(credentials.token, credentials.expiry.replace(tzinfo=UTC).timestamp())

    def _current(self) -> Any:
        """The library's credentials for what the reference holds now."""
        import google.auth

        if not self._auth.secret:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[self._auth.scope], request=self._transport)
            return self._credentials
        document = self._secrets.document(self._auth.secret)
        if self._credentials is None or document != self._by:
            self._credentials = _described(orjson.loads(document), [self._auth.scope])
            self._by = document
        return self._credentials

    def _why(self, word: str) -> str:
        if self._auth.secret:
            return f"Google gives no token ({word}): check the credentials in auth.secret"
        return f"Google's default credentials give no token ({word}): set auth.secret, or give this machine one"


def _described(document: Mapping[str, Any], scopes: list[str]) -> Any:
    """Credentials by a document's type; none that has the library run a program.

    Raises:
        ValueError: another type, or parts of it are missing.
    """
    source = document.get("credential_source")
    by: Any
    match document.get("type"):
        case "service_account":
            from google.oauth2 import service_account

            by = service_account.Credentials
            return by.from_service_account_info(document, scopes=scopes)
        case "external_account" if isinstance(source, dict) and "environment_id" in source:
            from google.auth import aws

            by = aws.Credentials
            return by.from_info(document, scopes=scopes)
        case "external_account" if isinstance(source, dict) and not {"executable", "certificate"} & source.keys():
            from google.auth import identity_pool

            by = identity_pool.Credentials
            return by.from_info(document, scopes=scopes)
    raise ValueError("neither a service account's key nor a federation's description")


class _Answer:
    """What google-auth reads of an answer."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data


class _Transport:
    """google-auth's transport over httpx; its own needs a further HTTP library."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: object,
    ) -> _Answer:
        """One exchange.

        Raises:
            google.auth.exceptions.TransportError: nothing was answered.
        """
        from google.auth import exceptions

        seconds = min(timeout or _SECONDS, _SECONDS)
        try:
            with httpx.Client(verify=self._tls, trust_env=False, timeout=seconds) as client:
                answer = client.request(method, url, content=body, headers=dict(headers or {}))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            failure = type(error).__name__
        else:
            return _Answer(answer.status_code, answer.headers, answer.content)
        raised: Any = exceptions.TransportError
        raise raised(failure)
