"""Tokens of Microsoft Entra by azure-identity: an application's secret, a federated token, a machine."""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

import certifi

from adapters.providers.identity.bearer import grant_of
from adapters.providers.identity.held import Grant, TokenError
from adapters.providers.secrets import SecretError, Secrets
from adapters.threads import in_thread
from service.domain.cloud_auth import EntraAuth

_CODE: Final = re.compile(r"AADSTS\d{3,9}")
# Retries are short: whoever waits has a deadline, and is better served by another endpoint.
_PATIENCE: Final = {"connection_timeout": 3, "read_timeout": 10, "retry_total": 1, "retry_status": 1}


class EntraTokens:
    """`TokenSource` of Microsoft Entra. `ca_file`: authorities to trust in place of the usual ones."""

    def __init__(self, auth: EntraAuth, secrets: Secrets, ca_file: str | None = None) -> None:
        self._auth = auth
        self._secrets = secrets
        self._verify = ca_file or certifi.where()
        self._by: tuple[str, ...] = ()
        self._credential: Any = None

    async def fetch(self) -> Grant[str]:
        """See `TokenSource`."""
        # Its import takes most of a second, for which nothing else should stand still.
        library = await in_thread(lambda: importlib.import_module("azure.identity.aio"), "identity")
        errors = importlib.import_module("azure.core.exceptions")
        failure = ""
        try:
            credential = await self._current(library)
            token = await credential.get_token_info(self._auth.scope)
        except SecretError as error:
            failure = str(error)
        except errors.AzureError as error:
            failure = self._why(str(error))
        except ValueError:
            failure = "auth.tenant or auth.client is not an id that Microsoft Entra takes"
        if failure:
            # Raised out here: the library's exceptions hold the request, and with it the secret.
            raise TokenError(failure)
        return grant_of(token.token, float(token.expires_on))

    def forget(self) -> None:
        """See `TokenSource`. The library's credential holds its tokens, too: the next one is a new one."""
        self._by = ()

    async def aclose(self) -> None:
        """See `TokenSource`."""
        if self._credential is not None:
            await self._credential.close()

    async def _current(self, library: Any) -> Any:
        """The library's credential for what the references hold now."""
        auth, resolve = self._auth, self._secrets.resolve
        by = tuple(resolve(each) if each else "" for each in (auth.tenant, auth.client, auth.secret))
        if self._credential is None or by != self._by:
            await self.aclose()
            self._credential, self._by = self._made(library, *by), by
        return self._credential

    def _made(self, library: Any, tenant: str, client: str, secret: str) -> Any:
        options: dict[str, Any] = {**_PATIENCE, "connection_verify": self._verify, "use_env_settings": False}
        if not secret and not self._auth.assertion:
            return library.ManagedIdentityCredential(client_id=client or None, **options)
        if self._auth.authority:
            options["authority"] = self._auth.authority
        # The look-up of authorities asks another host; the one that is configured is trusted as it is.
        options["disable_instance_discovery"] = True
        if secret:
            return library.ClientSecretCredential(tenant, client, secret, **options)
        return library.ClientAssertionCredential(
            tenant, client, lambda: self._secrets.resolve(self._auth.assertion), **options
        )

    def _why(self, text: str) -> str:
        found = _CODE.search(text)
        code = f" ({found[0]})" if found else ""
        if self._auth.secret or self._auth.assertion:
            by = "auth.secret" if self._auth.secret else "auth.assertion"
            return f"Microsoft Entra gives no token{code}: check auth.tenant, auth.client and {by}"
        return f"this machine's identity at Microsoft Entra gives no token{code}: check that it has one"
