"""How a provider is told who we are: the kinds of `catalog.Auth` as data. No lookup of secrets, no HTTP."""

from __future__ import annotations

from typing import assert_never
from urllib.parse import quote

from multidict import CIMultiDict

from service.domain.catalog import Auth


def apply(auth: Auth, secret: str, headers: CIMultiDict[str]) -> str:
    """Puts the secret where the provider wants it: into `headers`, or into the query that is returned."""
    match auth.kind:
        case "none":
            return ""
        case "bearer":
            headers["authorization"] = f"Bearer {secret}"
            return ""
        case "header":
            headers[auth.name] = secret
            return ""
        case "query":
            return f"{quote(auth.name, safe='')}={quote(secret, safe='')}"
    assert_never(auth.kind)
