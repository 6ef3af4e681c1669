"""No test reaches anything but this machine: Python's sockets refuse every other address.

The patch can't see gRPC's C core, uvloop or child processes; `namespace.py` can, where the system allows it.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class OutsideAddressError(AssertionError):
    """A test wanted to leave this machine."""


def is_local(address: object) -> bool:
    """Whether a socket address stays on this machine; anything without a host (a Unix socket's path) does."""
    if not isinstance(address, tuple) or not address:
        return True
    host = str(address[0])
    if host in ("", "localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    # Connecting to "any address" ends at this machine, too.
    return ip.is_loopback or ip.is_unspecified


@contextmanager
def loopback_only() -> Iterator[list[str]]:
    """Refuse other addresses while the context lasts; yields the list of the attempts, newest last."""
    attempts: list[str] = []

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def refuse_or_connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address):
                attempts.append(f"{address[0]}:{address[1]}")
                raise OutsideAddressError(
                    f"a test tried to connect to {attempts[-1]}: tests may reach nothing but loopback; "
                    "start the server in the test, or use the simulator"
                )
            return connect(self, address)

        return refuse_or_connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield attempts


def active_guard() -> str:
    """Say, for the run's header, what keeps this run on the machine."""
    try:
        interfaces = [name for _, name in socket.if_nameindex()]
    except (AttributeError, OSError):
        interfaces = []
    if interfaces == ["lo"]:
        return "loopback guard: the only network interface is lo, and sockets are patched"
    return "loopback guard: sockets are patched (not seen: gRPC's core, uvloop, child processes)"
