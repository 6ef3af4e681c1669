"""AWS Signature Version 4 by botocore's signer, with keys by reference or the machine's own credentials."""

from __future__ import annotations

import logging
import time
from typing import Any, Final, NamedTuple

from multidict import CIMultiDict

from adapters.providers.identity.held import Grant, Held, TokenError
from adapters.providers.secrets import Secrets
from adapters.threads import in_thread
from service.domain.cloud_auth import AwsAuth

# botocore's chain renews what ends within ten minutes before it gives it out, and raises when it can't
# (botocore.credentials, RefreshableCredentials._mandatory_refresh_timeout). Asking it costs a thread.
_LOOK_AGAIN: Final = 60.0
_AT_LEAST: Final = 600.0
_CONNECT: Final = 3
# Bytes whose hash takes longer than handing it to a thread, which nothing else has to wait for.
_LONG: Final = 1024 * 1024
_READ: Final = 10

# At DEBUG botocore logs what it signs, a session token among it.
for _name in ("botocore.auth", "botocore.credentials", "botocore.endpoint", "botocore.parsers", "botocore.hooks"):
    logging.getLogger(_name).setLevel(logging.INFO)


class AwsKeys(NamedTuple):
    """Credentials under the names that botocore's signer reads."""

    access_key: str
    secret_key: str
    token: str | None


class _Signable:
    """What botocore's signer reads of a request; its own class would parse the address and copy the body."""

    __slots__ = ("body", "context", "headers", "method", "params", "url")

    def __init__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        self.method = "POST"
        self.url = url
        self.headers = headers
        self.body = body
        self.params: dict[str, str] = {}
        self.context: dict[str, Any] = {}


class AwsSigner:
    """`Authorizer` for AWS."""

    def __init__(self, auth: AwsAuth, secrets: Secrets) -> None:
        self._auth = auth
        self._secrets = secrets
        self._machine = MachineKeys()
        self._held = Held(self._machine.fetch)
        self._signer: Any = None

    async def sign(self, url: str, headers: CIMultiDict[str], body: bytes, until: float) -> tuple[str, ...]:
        """See `Authorizer`. Signed are the host, the content type, the date, the session token and the body."""
        if self._signer is None:
            # Its import takes half a second, for which nothing else should stand still.
            self._signer = await in_thread(_signer, "identity")
        keys = self._given() if self._auth.secret else self._held.now() or await self._held.get(until)
        signed: dict[str, str] = {}
        if "content-type" in headers:
            signed["content-type"] = headers["content-type"]
        request = _Signable(url, signed, body)
        signer = self._signer(keys, self._auth.service, self._auth.region)
        if len(body) > _LONG:
            await in_thread(lambda: signer.add_auth(request), "signature")
        else:
            signer.add_auth(request)
        headers.update(signed)
        return tuple(filter(None, (keys.secret_key, keys.token, signed["Authorization"])))

    def refused(self) -> None:
        """See `Authorizer`. Keys by reference are read anew for every call."""
        if self._held.forget():
            self._machine.forget()

    async def aclose(self) -> None:
        """See `Authorizer`."""
        await self._held.aclose()

    def _given(self) -> AwsKeys:
        auth, resolve = self._auth, self._secrets.resolve
        token = resolve(auth.session_token) if auth.session_token else None
        return AwsKeys(resolve(auth.access_key), resolve(auth.secret), token)


class MachineKeys:
    """The machine's own credentials by botocore's chain: environment, files, web identity, container, instance."""

    def __init__(self) -> None:
        self._credentials: Any = None

    async def fetch(self) -> Grant[AwsKeys]:
        """What the chain gives now; it renews in a thread.

        Raises:
            TokenError: it gives nothing.
        """
        keys = await in_thread(self._ask, "identity")
        now = time.time()
        return Grant(keys, now + _LOOK_AGAIN, now + _AT_LEAST)

    def forget(self) -> None:
        """What the chain gave was refused: the next look begins at its start."""
        self._credentials = None

    def _ask(self) -> AwsKeys:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._credentials is None:
                self._credentials = _session().get_credentials()
            if self._credentials is None:
                raise TokenError(
                    "this machine has no AWS credentials: set auth.access_key and auth.secret, or give it a role"
                )
            frozen = self._credentials.get_frozen_credentials()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise TokenError(f"AWS gives this machine no credentials ({_word(code)}): check its role") from None
        except BotoCoreError as error:
            raise TokenError(
                f"AWS gives this machine no credentials ({type(error).__name__}): check its role"
            ) from None
        return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token)


def _session() -> Any:
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.set_default_client_config(
        Config(connect_timeout=_CONNECT, read_timeout=_READ, retries={"total_max_attempts": 2})
    )
    return session


def _signer() -> Any:
    from botocore.auth import SigV4Auth

    return SigV4Auth


def _word(code: object) -> str:
    text = str(code)
    return text if text.isalnum() and len(text) <= 80 else "error"
