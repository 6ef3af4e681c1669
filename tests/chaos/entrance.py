"""The doors that callers find at a moment, as a headless Service names its pods; they come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp

from tests.chaos.cluster import Address
from tests.chaos.doors import Door, GrpcDoor, HttpDoor


class Entrance:
    """`by_kind` changes in place. Who leaves is not closed before the end: what its callers have may go on."""

    def __init__(self, session: aiohttp.ClientSession, addresses: Sequence[Address]) -> None:
        self._session = session
        self._http: list[Door] = []
        self._grpc: list[Door] = []
        self._opened: list[GrpcDoor] = []
        self.by_kind: Mapping[str, Sequence[Door]] = {"http": self._http, "grpc": self._grpc}
        for address in addresses:
            self.add(address)

    def add(self, address: Address) -> None:
        """From now on callers come here, too."""
        opened = GrpcDoor(address)
        self._opened.append(opened)
        self._grpc.append(opened)
        self._http.append(HttpDoor(address, self._session))

    def remove(self, name: str) -> None:
        """From now on nobody comes to this service any more."""
        for doors in (self._http, self._grpc):
            doors[:] = [door for door in doors if door.name != name]

    async def aclose(self) -> None:
        """Closes all connections."""
        for door in self._opened:
            await door.aclose()
