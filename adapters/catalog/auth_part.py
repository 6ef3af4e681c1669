"""How a catalogue file says by what a provider knows us, and the domain's row of it. Nothing is resolved here."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, model_validator

from adapters.documents.shapes import Part, SecretReference
from service.domain.catalog import AnyAuth, Auth
from service.domain.cloud_auth import AwsAuth, EntraAuth, GoogleAuth

Kind = Literal["none", "bearer", "header", "query", "aws_sigv4", "entra", "google"]

CLOUDS: Final[frozenset[Kind]] = frozenset({"aws_sigv4", "entra", "google"})
"""Kinds that make something new of an identity, in place of sending a key as it is."""

_ENTRA: Final = frozenset({"tenant", "client", "secret", "assertion", "scope", "authority"})
_TAKES: Final[dict[Kind, frozenset[str]]] = {
    "none": frozenset(),
    "bearer": frozenset({"secret"}),
    "header": frozenset({"name", "secret"}),
    "query": frozenset({"name", "secret"}),
    "aws_sigv4": frozenset({"access_key", "secret", "session_token", "region"}),
    "entra": _ENTRA,
    "google": frozenset({"secret", "scope"}),
}

_HTTPS_OWN: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})

# bedrock-runtime.REGION.amazonaws.com, -fips and VPC endpoints: docs.aws.amazon.com/general/latest/gr/bedrock.html
_REGION: Final = re.compile(r"[./]bedrock-runtime(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.")


class AuthPart(Part):
    """How a provider wants to be told who we are."""

    kind: Kind = Field(
        default="bearer",
        description="bearer: `authorization: Bearer SECRET`; header: `name: SECRET`; query: `?name=SECRET`; "
        "aws_sigv4: every call signed; entra, google: a bearer token of Microsoft Entra or of Google.",
    )
    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="The header's or the query parameter's name.",
    )
    secret: SecretReference | None = Field(
        default=None,
        description="Where the secret is: env:NAME or file:PATH. For aws_sigv4 the secret access key, for entra "
        "the application's secret, for google the credentials' JSON; left out there, the machine's own identity.",
    )
    access_key: SecretReference | None = Field(
        default=None, description="aws_sigv4: where the access key's id is, beside `secret`."
    )
    session_token: SecretReference | None = Field(
        default=None, description="aws_sigv4: where the session token of temporary credentials is."
    )
    region: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+$",
        description="aws_sigv4: the region to sign for; left out, the one in `base_url`.",
    )
    tenant: SecretReference | None = Field(default=None, description="entra: where the tenant's id is.")
    client: SecretReference | None = Field(
        default=None, description="entra: where the application's (or the managed identity's) client id is."
    )
    assertion: SecretReference | None = Field(
        default=None,
        description="entra: where a federated token is, in place of `secret`, such as a file of Kubernetes.",
    )
    scope: str | None = Field(
        default=None,
        min_length=1,
        description="entra, google: what the token is for; left out, "
        f"{EntraAuth().scope} or {GoogleAuth().scope}.",
    )
    authority: str | None = Field(
        default=None,
        pattern=r"^https://[^\s/]+$",
        description="entra: who gives tokens, such as https://login.microsoftonline.us; left out, the public one.",
    )

    @model_validator(mode="after")
    def _complete(self) -> AuthPart:
        for key in sorted(self.model_fields_set - {"kind"} - _TAKES[self.kind]):
            raise ValueError(f"kind {self.kind} has no `{key}`")
        if self.kind in ("bearer", "header", "query") and self.secret is None:
            raise ValueError("needs a `secret`, such as env:EXAMPLE_API_KEY (or kind: none)")
        if self.kind in ("header", "query") and not self.name:
            raise ValueError(f"kind {self.kind} needs a `name`, such as x-api-key")
        if self.kind == "header" and self.name.lower() in _HTTPS_OWN:
            raise ValueError(f"`name` can't be {self.name}: HTTP itself needs that header")
        if self.kind == "aws_sigv4" and (self.access_key is None) != (self.secret is None):
            raise ValueError("`access_key` and `secret` go together (neither: the machine's own credentials)")
        if self.session_token is not None and self.secret is None:
            raise ValueError("`session_token` goes with `access_key` and `secret`")
        if self.kind == "entra":
            self._complete_entra()
        return self

    def _complete_entra(self) -> None:
        if self.secret is not None and self.assertion is not None:
            raise ValueError("takes `secret` or `assertion`, not both")
        if self.secret is None and self.assertion is None:
            if self.tenant is not None:
                raise ValueError("`tenant` goes with `secret` or `assertion`")
        elif self.tenant is None or self.client is None:
            raise ValueError("needs `tenant` and `client` beside `secret` or `assertion`")


def region_in(base_url: str) -> str | None:
    """The AWS region that Bedrock's own address names."""
    found = _REGION.search(base_url)
    return found[1] if found else None


def auth_of(part: AuthPart | None, base_url: str = "") -> AnyAuth:
    """No part is no authentication. A region that neither the part nor the address names stays empty."""
    if part is None:
        return Auth()
    match part.kind:
        case "aws_sigv4":
            return AwsAuth(
                region=part.region or region_in(base_url) or "",
                access_key=part.access_key or "",
                secret=part.secret or "",
                session_token=part.session_token or "",
            )
        case "entra":
            return EntraAuth(
                tenant=part.tenant or "",
                client=part.client or "",
                secret=part.secret or "",
                assertion=part.assertion or "",
                scope=part.scope or EntraAuth().scope,
                authority=part.authority or "",
            )
        case "google":
            return GoogleAuth(secret=part.secret or "", scope=part.scope or GoogleAuth().scope)
        case "none" | "bearer" | "header" | "query":
            return Auth(kind=part.kind, name=part.name, secret=part.secret or "")
