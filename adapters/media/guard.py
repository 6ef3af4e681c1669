"""Keeps connections to public addresses: a name is resolved once, checked, and what was checked is dialled."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from .addresses import IpAddress
from .errors import FetchError
from .limits import MediaLimits

Allow: TypeAlias = Callable[[IpAddress], bool]
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

_NOT_PUBLIC: Final = "leads to an address that is not public: nothing is fetched from there"


def checked_url(text: str, limits: MediaLimits) -> URL:
    """The address in `text`, if it is one that may be asked, as far as the text says.

    Raises:
        FetchError: bad_address.
    """
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise FetchError("bad_address", "is no web address") from None
    if url.scheme not in ("https", "http") or not host:
        raise FetchError("bad_address", "must be an https address")
    if url.scheme == "http" and not limits.allow_http:
        raise FetchError(
            "bad_address", "must be an https address: this endpoint takes bytes, fetched over TLS only"
        )
    if "@" in url.raw_authority:
        raise FetchError("bad_address", "must not hold a user or a password")
    if port not in limits.ports:
        raise FetchError("bad_address", "must use the usual port: from others nothing is fetched")
    if not limits.allows(host):
        raise FetchError("bad_address", "names a host from which nothing is fetched here")
    return url


class Guard(AbstractResolver):
    """Resolves names for one client and gates its sockets. `allow` says which addresses may be connected to."""

    def __init__(self, allow: Allow, resolve: Resolve) -> None:
        self._allow = allow
        self._resolve = resolve

    def connector(self, tls: Any) -> aiohttp.TCPConnector:
        """A connector that dials nothing else. It keeps no connection and no name: each fetch is checked anew."""
        return aiohttp.TCPConnector(
            resolver=self, socket_factory=self._socket, use_dns_cache=False, force_close=True, limit=0, ssl=tls
        )

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`; one that may not be connected to refuses all, as no honest name has such.

        Raises:
            FetchError: not_public.
            OSError: there are none.
        """
        del family
        results: list[ResolveResult] = []
        for text in await self._resolve(host, port):
            address = self._checked(text)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address),
                    port=port,
                    family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not results:
            raise OSError("no address")
        return results

    async def close(self) -> None:
        """Nothing is kept."""

    def _socket(self, addr_info: Any) -> socket.socket:
        # Here pass literal addresses, too, which need no resolver: what is dialled is what is checked.
        family, kind, proto, _, destination = addr_info
        self._checked(destination[0])
        made = socket.socket(family, kind, proto)
        made.setblocking(False)
        return made

    def _checked(self, text: str) -> IpAddress:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise FetchError("not_public", _NOT_PUBLIC) from None
        if not self._allow(address):
            raise FetchError("not_public", _NOT_PUBLIC)
        return address
