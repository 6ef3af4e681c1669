"""Which IP addresses are public: those that a caller may have us connect to. Pure.

Python's own `is_private` and `is_global` changed between patch releases, so the ranges stand here: the special
purpose registries of IANA (RFC 6890; iana-ipv4-special-registry, iana-ipv6-special-registry).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

IpAddress: TypeAlias = IPv4Address | IPv6Address

_NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared address space; 100.100.100.200 are Alibaba Cloud's metadata
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; 169.254.169.254 are the metadata of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # 192.0.0.192 are Oracle Cloud's metadata
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",  # and 255.255.255.255
            "168.63.129.16/32",  # Azure's host agent: public by its number, private by its use
        ),
    )
)
_PUBLIC_6: Final = IPv6Network("2000::/3")
# Unique local (fd00:ec2::254 are AWS' metadata), link-local, site-local, multicast, loopback lie outside 2000::/3.
_NOT_PUBLIC_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address of anybody's choice, by relays of anybody's
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(address: IpAddress) -> bool:
    """Whether anybody on the internet may be meant. IPv4 within IPv6 (mapped, NAT64) counts as that IPv4."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.scope_id is not None:
        return False
    inner = address.ipv4_mapped
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return is_public(inner)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)
