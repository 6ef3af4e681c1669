"""Identities at clouds: from what a call's signature or token is made. References to secrets, never a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AwsAuth:
    """AWS Signature Version 4 over every call.

    `access_key`, `secret` and `session_token` are references; without them the machine's own credentials are
    taken. `region` and `service` stand in what is signed.
    """

    region: str
    service: str = "bedrock"
    access_key: str = ""
    secret: str = ""
    session_token: str = ""
    kind: Literal["aws_sigv4"] = "aws_sigv4"

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must resolve."""
        return tuple(filter(None, (self.access_key, self.secret, self.session_token)))


@dataclass(frozen=True, slots=True)
class EntraAuth:
    """A bearer token of Microsoft Entra for `scope`.

    By `secret` (an application's secret) or `assertion` (a federated token), both with `tenant` and `client`, all
    four references; with neither by the machine's managed or workload identity, whose `client` may be named.
    `authority`: the address that gives tokens, empty for the public cloud's.
    """

    tenant: str = ""
    client: str = ""
    secret: str = ""
    assertion: str = ""
    scope: str = "https://cognitiveservices.azure.com/.default"
    authority: str = ""
    kind: Literal["entra"] = "entra"

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must resolve."""
        return tuple(filter(None, (self.tenant, self.client, self.secret, self.assertion)))


@dataclass(frozen=True, slots=True)
class GoogleAuth:
    """A bearer token of Google for `scope`.

    `secret` is the reference of a credentials document (JSON: a service account's key or a federation's
    description); without it Google's application default credentials are taken.
    """

    secret: str = ""
    scope: str = "https://www.googleapis.com/auth/cloud-platform"
    kind: Literal["google"] = "google"

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must resolve."""
        return (self.secret,) if self.secret else ()


CloudAuth = AwsAuth | EntraAuth | GoogleAuth
"""An identity from which something new is made for each call, or every now and then."""
