"""Which addresses are public, and which web addresses are asked at all: every form that means somebody private."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.media.addresses import is_public
from adapters.media.errors import FetchError
from adapters.media.guard import checked_url
from adapters.media.limits import MediaLimits

# 100.100.100.200, 168.63.129.16, 169.254.169.254, 169.254.170.2, 192.0.0.192 and fd00:ec2::254: clouds' own.
# fmt: off
PRIVATE_4 = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
)
PRIVATE_6 = (
    "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0",
    "fec0::1", "fc00::1", "fd00:ec2::254", "fdff::1", "ff02::1", "ff0e::1", "100::1", "64:ff9b:1::808:808",
    "5f00::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "4000::1", "8000::1",
)
PUBLIC = (
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1",
    "168.63.129.15", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "2003::1",
    "2001:4860:4860::8888",
)
# fmt: on


@pytest.mark.parametrize("text", [*PRIVATE_4, *PRIVATE_6])
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PRIVATE_4)
def test_a_private_address_in_the_clothes_of_ipv6_stays_private(text: str) -> None:
    inner = int(IPv4Address(text))
    mapped, nat64 = IPv6Address((0xFFFF << 32) | inner), IPv6Address((0x64_FF9B << 96) | inner)
    six_to_four = IPv6Address((0x2002 << 112) | (inner << 80))
    teredo = IPv6Address((0x2001_0000 << 96) | (inner << 64) | (inner ^ 0xFFFF_FFFF))
    compatible = IPv6Address(inner)
    for address in (mapped, nat64, six_to_four, teredo, compatible):
        assert not is_public(address), address


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_allowed(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def test_public_addresses_behind_nat64_are_reached() -> None:
    assert is_public(ipaddress.ip_address("64:ff9b::8.8.8.8"))
    assert is_public(ipaddress.ip_address("::ffff:8.8.8.8"))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_that_python_calls_private_is_public_here(address: IPv4Address | IPv6Address) -> None:
    inner = getattr(address, "ipv4_mapped", None) or address
    special = (
        inner.is_private or inner.is_loopback or inner.is_link_local or inner.is_multicast or inner.is_reserved
    )
    if special and inner not in ipaddress.IPv6Network("64:ff9b::/96"):
        assert not is_public(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.png",
        "//a.example/b",
        "ftp://a.example/b",
        "file:///etc/passwd",
        "gopher://a.example/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https://",
        "https:///b",
        "https://[::1",
        "https://a.example:port/",
        "https://a.example:99999/",
        "http://a.example/b.png",
        "https://user@a.example/",
        "https://user:secret@a.example/",
        "https://:@a.example/",
        "https://good.example\\@127.0.0.1/",
        "https://a.example:22/",
        "https://a.example:8443/",
        "https://a.example:0/",
    ],
)
def test_a_web_address_of_any_other_form_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(FetchError) as caught:
        checked_url(text, MediaLimits())
    assert caught.value.outcome == "bad_address"
    assert "secret" not in caught.value.message
    assert "example" not in caught.value.message


def test_https_and_its_port_are_all_that_is_asked_unless_more_is_allowed() -> None:
    assert checked_url("https://a.example/b", MediaLimits()).raw_host == "a.example"
    assert checked_url("https://a.example:443/b", MediaLimits()).port == 443
    assert checked_url("HTTPS://A.Example/b", MediaLimits()).raw_host == "a.example"
    assert checked_url("http://a.example/b", MediaLimits(allow_http=True)).port == 80
    assert checked_url("https://a.example:8443/", MediaLimits(ports=(8443,))).port == 8443
    with pytest.raises(FetchError):
        checked_url("http://a.example:8080/b", MediaLimits(allow_http=True))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("a.example", True),
        ("a.example.", True),
        ("A.EXAMPLE", True),
        ("b.a.example", False),
        ("img.cdn.example", True),
        ("x.img.cdn.example", True),
        ("cdn.example", False),
        ("evilcdn.example", False),
        ("a.example.evil.example", False),
        ("müller.example", True),
        ("\N{FULLWIDTH LATIN SMALL LETTER A}.example", True),
    ],
)
def test_where_hosts_are_listed_only_those_are_asked(host: str, allowed: bool) -> None:
    limits = MediaLimits(hosts=("a.example", "*.cdn.example", "xn--mller-kva.example"))
    if allowed:
        assert checked_url(f"https://{host}/b", limits).host
        return
    with pytest.raises(FetchError, match="nothing is fetched here"):
        checked_url(f"https://{host}/b", limits)
