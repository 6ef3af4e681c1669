"""The fetcher against real sockets: whom it connects to, what it takes, and when it stops.

Servers listen on loopback, which only these tests allow; what is refused is told from what was connected to.
"""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from adapters.media import MediaLimits, WebFetcher
from adapters.media.addresses import IpAddress, is_public
from adapters.media.names import Asker, LookUps, asker
from service.domain.errors import Reason, ServiceError
from service.domain.media import FetchedMedia, MediaKind, Wanted
from tests.integration.upstream_server import Answer, Peer, Server, serving
from tests.support.fetched import bytes_of, fetched

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
PDF = b"%PDF-1.7\n" + bytes(100)
PATH = "messages[0].content[1].image_url.url"


class Counts:
    """What the fetcher told of its fetches."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int]] = []

    def fetched(self, kind: str, outcome: str, size: int, seconds: float) -> None:
        assert seconds >= 0
        self.told.append((kind, outcome, size))


class Names:
    """Answers look-ups: each name has a list of answers, the last of which stays. `asked` in order."""

    def __init__(self, **names: list[list[str]]) -> None:
        self._names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._names.get(host.rstrip("."))
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def loopback(address: IpAddress) -> bool:
    return address == ipaddress.ip_address("127.0.0.1")


@asynccontextmanager
async def fetcher(
    server: Server | None = None, *, allow: Callable[[IpAddress], bool] = loopback, tls: Any = None, **more: Any
) -> AsyncIterator[tuple[WebFetcher, Counts]]:
    """A fetcher that may ask the server's port; keywords are limits, and `resolve`."""
    counts = Counts()
    options = {"resolve": more.pop("resolve")} if "resolve" in more else {}
    ports = (server.port,) if server is not None else (443, 80)
    limits = MediaLimits(**{"allow_http": True, "ports": ports, "seconds": 5.0, **more})
    web = WebFetcher(counts, lambda: limits, user_agent="test/1", tls=tls, allow=allow, **options)
    try:
        yield web, counts
    finally:
        await web.aclose()


async def get(web: WebFetcher, url: str, kind: MediaKind = "image", seconds: float = 10.0) -> FetchedMedia:
    (media,) = await web.fetch([Wanted(url, kind, PATH)], seconds, "acme")
    return media


async def refused(web: WebFetcher, url: str, kind: MediaKind = "image", seconds: float = 10.0) -> str:
    """The complaint, which names the place and not the address."""
    with pytest.raises(ServiceError) as caught:
        await get(web, url, kind, seconds)
    error = caught.value
    assert error.reason is Reason.INVALID_REQUEST
    (violation,) = error.violations
    assert violation.path == PATH
    assert url not in str(error)
    assert "127.0.0.1" not in str(error)
    chain: BaseException | None = error.__cause__ or error.__context__
    assert chain is None, "what led to it may hold the address"
    return violation.message


def gives(body: bytes, content_type: str = "image/png", more: str = "", status: str = "200 OK") -> Answer:
    async def answer(peer: Peer) -> None:
        await peer.whole(body, status, f"content-type: {content_type}\r\n{more}" if content_type else more)

    return answer


def sends_to(location: str, status: str = "302 Found") -> Answer:
    return gives(b"", "text/html", f"location: {location}\r\n", status)


# --- what is taken ---


@pytest.mark.parametrize(
    ("body", "stated", "kind", "taken"),
    [
        (PNG, "image/png", "image", "image/png"),
        (JPEG, "image/jpg", "image", "image/jpeg"),
        (JPEG, "IMAGE/JPEG; q=1", "image", "image/jpeg"),
        (PNG, "application/octet-stream", "image", "image/png"),
        (PNG, "", "image", "image/png"),
        (PDF, "application/pdf", "file", "application/pdf"),
        (PDF, "binary/octet-stream", "file", "application/pdf"),
        ("Grüße".encode(), "text/plain; charset=utf-8", "file", "text/plain"),
    ],
)
async def test_what_says_and_is_the_right_kind_is_taken(
    body: bytes, stated: str, kind: MediaKind, taken: str
) -> None:
    async with serving(gives(body, stated)) as server, fetcher(server) as (web, counts):
        assert await get(web, f"{server.url}/a?b=c#d", kind) == fetched(taken, body)
    assert counts.told == [(kind, "ok", len(body))]


@pytest.mark.parametrize(
    ("body", "stated", "kind"),
    [
        (b"<html></html>", "text/html", "image"),
        (PNG, "text/html", "image"),
        (b"<html></html>", "image/png", "image"),
        (b"<svg/>", "image/svg+xml", "image"),
        (JPEG, "image/png", "image"),
        (PDF, "application/pdf", "image"),
        (PNG, "image/png", "file"),
        (b"", "image/png", "image"),
        (b"", "text/plain", "file"),
        (b"a\x00b", "text/plain", "file"),
        (b"just text", "application/octet-stream", "file"),
        (PDF, "text/plain", "file"),
        (b"{}", "application/json", "file"),
    ],
)
async def test_what_is_or_says_something_else_is_refused(body: bytes, stated: str, kind: MediaKind) -> None:
    async with serving(gives(body, stated)) as server, fetcher(server) as (web, counts):
        await refused(web, f"{server.url}/a", kind)
    assert [told[:2] for told in counts.told] == [(kind, "wrong_type")]


async def test_the_host_is_asked_without_cookies_credentials_or_compression() -> None:
    async with serving(gives(PNG, more="set-cookie: a=b; Path=/\r\n")) as server, fetcher(server) as (web, _):
        await get(web, f"{server.url}/a")
        await get(web, f"{server.url}/a")
    assert len(server.peers) == 2
    for peer in server.peers:
        names = {line.partition(":")[0].lower() for line in peer.head.split("\r\n")[1:] if line}
        assert names == {"host", "user-agent", "accept-encoding", "accept", "connection"}
        assert peer.header("accept-encoding") == "identity"
        assert peer.header("user-agent") == "test/1"
    assert server.connections == 2, "no connection is kept: each fetch is checked anew"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(gives(PNG)) as server, fetcher(server) as (web, _):
        assert bytes_of(await get(web, f"{server.url}/a")) == PNG


# --- whom it connects to ---


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "\N{FULLWIDTH DIGIT ONE}27.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[::127.0.0.1]",
        "[::]",
        "0.0.0.0",
        "0",
    ],
)
async def test_this_machine_is_not_connected_to_whatever_it_is_called(host: str) -> None:
    async with serving(gives(PNG)) as server, fetcher(server, allow=is_public) as (web, counts):
        await refused(web, f"http://{host}:{server.port}/a")
    assert server.connections == 0
    # A form that this machine's resolver does not know at all leads nowhere either.
    assert counts.told[0][1] in ("not_public", "unreachable", "bad_address")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00:ec2::254", "100.100.100.200"]
)
async def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    names = Names(images_example=[[address]])
    async with serving(gives(PNG)) as server, fetcher(server, allow=is_public, resolve=names) as (web, counts):
        assert "not public" in await refused(web, f"http://images.example:{server.port}/a")
    assert counts.told == [("image", "not_public", 0)]
    assert server.connections == 0


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    names = Names(images_example=[["127.0.0.1", "10.0.0.1"]])
    async with serving(gives(PNG)) as server, fetcher(server, resolve=names) as (web, counts):
        await refused(web, f"http://images.example:{server.port}/a")
    assert server.connections == 0
    assert counts.told[0][1] == "not_public"


async def test_a_name_is_looked_up_once_so_that_no_second_answer_counts() -> None:
    names = Names(images_example=[["127.0.0.1"], ["127.0.0.2"]])
    async with serving(gives(PNG)) as server, fetcher(server, resolve=names) as (web, _):
        assert bytes_of(await get(web, f"http://images.example:{server.port}/a")) == PNG
        assert names.asked == ["images.example"]
        # The name now leads elsewhere: the next fetch asks again, keeps nothing, and is refused.
        assert "not public" in await refused(web, f"http://images.example:{server.port}/a")
    assert (server.connections, names.asked) == (1, ["images.example"] * 2)


async def test_what_is_dialled_is_checked_even_if_a_look_up_slipped_through() -> None:
    asked: list[IpAddress] = []

    def only_at_first(address: IpAddress) -> bool:
        asked.append(address)
        return len(asked) == 1

    names = Names(images_example=[["127.0.0.1"]])
    async with serving(gives(PNG)) as server, fetcher(server, allow=only_at_first, resolve=names) as (web, counts):
        await refused(web, f"http://images.example:{server.port}/a")
    assert (server.connections, len(asked)) == (0, 2)
    assert counts.told[0][1] == "not_public"


async def test_the_certificate_must_be_the_hosts_name() -> None:
    authority = trustme.CA()
    tls, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("images.example").configure_cert(tls)
    authority.configure_trust(ours)
    names = Names(images_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    async with serving(gives(PNG), tls) as server, fetcher(server, resolve=names, tls=ours) as (web, counts):
        assert bytes_of(await get(web, f"https://images.example:{server.port}/a")) == PNG
        await refused(web, f"https://other.example:{server.port}/a")
    assert [told[1] for told in counts.told] == ["ok", "unreachable"]
    assert len(server.peers) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("images.example").configure_cert(tls)
    names = Names(images_example=[["127.0.0.1"]])
    async with serving(gives(PNG), tls) as server, fetcher(server, resolve=names) as (web, _):
        await refused(web, f"https://images.example:{server.port}/a")
    assert server.peers == []


async def test_names_that_do_not_resolve_and_ports_that_are_closed_are_the_callers_to_mend() -> None:
    async with fetcher(resolve=Names(closed_example=[["127.0.0.1"]]), ports=(1,)) as (web, counts):
        await refused(web, "http://nowhere.example:1/a")
        await refused(web, "http://closed.example:1/a")
    assert [told[1] for told in counts.told] == ["unreachable", "unreachable"]


# --- redirects ---


def hops(count: int) -> Answer:
    """/3 leads to /2 and so on; /0 is the image."""

    async def answer(peer: Peer) -> None:
        left = int(peer.head.split(" ")[1].lstrip("/"))
        await (gives(PNG) if left == 0 else sends_to(f"/{left - 1}"))(peer)

    return answer


async def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    async with serving(hops(4)) as server, fetcher(server) as (web, counts):
        assert bytes_of(await get(web, f"{server.url}/3")) == PNG
        assert "redirects more than 3 times" in await refused(web, f"{server.url}/4")
    assert [told[1] for told in counts.told] == ["ok", "redirects"]
    assert len(server.peers) == 4 + 4


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_a_private_address_is_refused(status: str) -> None:
    async with serving(gives(PNG)) as inner:
        names = Names(images_example=[["127.0.0.1"]], inner_example=[["10.0.0.1"]])
        target = f"http://inner.example:{inner.port}/secret"
        async with (
            serving(sends_to(target, status)) as server,
            fetcher(resolve=names, ports=(server.port, inner.port)) as (web, counts),
        ):
            assert "not public" in await refused(web, f"http://images.example:{server.port}/a")
    assert counts.told == [("image", "not_public", 0)]
    assert inner.connections == 0


@pytest.mark.parametrize(
    ("location", "outcome"),
    [
        ("http://127.0.0.2:{port}/a", "not_public"),
        ("http://[::1]:{port}/a", "not_public"),
        ("http://169.254.169.254:{port}/latest/meta-data/", "not_public"),
        ("//10.0.0.1:{port}/a", "not_public"),
        ("http://127.0.0.1:22/a", "bad_address"),
        ("http://user:secret@127.0.0.1:{port}/a", "bad_address"),
        ("file:///etc/passwd", "bad_address"),
        ("ftp://127.0.0.1:{port}/a", "bad_address"),
        ("gopher://127.0.0.1:{port}/_x", "bad_address"),
        ("data:image/png;base64,iVBORw0KGgo=", "bad_address"),
        ("http://[::1", "bad_address"),
    ],
)
async def test_every_redirect_is_checked_as_the_first_address_was(location: str, outcome: str) -> None:
    async def answer(peer: Peer) -> None:
        await sends_to(location.format(port=server.port))(peer)

    async with serving(answer) as server, fetcher(server) as (web, counts):
        await refused(web, f"{server.url}/a")
    assert [told[1] for told in counts.told] == [outcome]
    assert len(server.peers) == 1


async def test_a_redirect_from_https_to_http_is_refused() -> None:
    authority = trustme.CA()
    tls, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("images.example").configure_cert(tls)
    authority.configure_trust(ours)
    names = Names(images_example=[["127.0.0.1"]])
    async with (
        serving(gives(PNG)) as plain,
        serving(sends_to(f"http://images.example:{plain.port}/a"), tls) as server,
    ):
        ports = (server.port, plain.port)
        async with fetcher(resolve=names, tls=ours, ports=ports, allow_http=False) as (web, counts):
            await refused(web, f"https://images.example:{server.port}/a")
    assert [told[1] for told in counts.told] == ["bad_address"]
    assert plain.connections == 0


async def test_a_redirect_to_a_host_that_is_not_listed_is_refused() -> None:
    names = Names(cdn_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])

    async def answer(peer: Peer) -> None:
        await sends_to(f"http://other.example:{server.port}/a")(peer)

    async with (
        serving(answer) as server,
        fetcher(server, resolve=names, hosts=("cdn.example",)) as (web, counts),
    ):
        await refused(web, f"http://cdn.example:{server.port}/a")
    assert (names.asked, counts.told[0][1]) == (["cdn.example"], "bad_address")


# --- how much and how long ---


async def test_a_length_beyond_the_cap_is_refused_before_anything_is_read() -> None:
    async def announces(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 99999999999\r\n\r\n")
        await peer.gone.wait()

    async with serving(announces) as server, fetcher(server, max_bytes=1000) as (web, counts):
        assert "larger than 1000 bytes" in await refused(web, f"{server.url}/a")
    assert counts.told[0][1] == "too_large"


async def test_a_stream_without_end_is_left_at_the_cap() -> None:
    sent = 0

    async def endless(peer: Peer) -> None:
        nonlocal sent
        await peer.begin("image/png")
        await peer.chunk(PNG)
        while not peer.gone.is_set():
            await peer.chunk(bytes(10_000))
            sent += 10_000

    async with serving(endless) as server, fetcher(server, max_bytes=100_000) as (web, counts):
        assert "larger than 100000 bytes" in await refused(web, f"{server.url}/a")
    assert counts.told[0][1] == "too_large"
    # What the sockets' buffers hold is sent, and no more.
    assert sent < 20_000_000


async def test_exactly_the_cap_is_taken() -> None:
    async with serving(gives(PNG)) as server, fetcher(server, max_bytes=len(PNG)) as (web, _):
        assert (await get(web, f"{server.url}/a")).size == len(PNG)
    async with serving(gives(PNG)) as server, fetcher(server, max_bytes=len(PNG) - 1) as (web, _):
        await refused(web, f"{server.url}/a")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip"])
async def test_a_compressed_answer_is_refused_and_never_unpacked(coding: str) -> None:
    bomb = gzip.compress(PNG + bytes(50_000_000))
    async with (
        serving(gives(bomb, more=f"content-encoding: {coding}\r\n")) as server,
        fetcher(server) as (web, counts),
    ):
        assert "compressed" in await refused(web, f"{server.url}/a")
    assert counts.told == [("image", "wrong_type", 0)]


async def test_a_host_that_drips_is_left_when_the_time_is_over() -> None:
    async def drips(peer: Peer) -> None:
        await peer.begin("image/png")
        for byte in PNG * 100:
            await peer.chunk(bytes([byte]))
            await asyncio.sleep(0.02)

    async with serving(drips) as server, fetcher(server, seconds=0.3) as (web, counts):
        begun = time.monotonic()
        assert "within 0.3 seconds" in await refused(web, f"{server.url}/a")
        assert 0.25 < time.monotonic() - begun < 2
    assert counts.told[0][1] == "timeout"


@pytest.mark.parametrize("hangs", ["before_the_head", "in_the_head", "after_the_head"])
async def test_a_host_that_hangs_anywhere_is_left_when_the_time_is_over(hangs: str) -> None:
    async def answer(peer: Peer) -> None:
        if hangs == "in_the_head":
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
        elif hangs == "after_the_head":
            await peer.begin("image/png")
        await peer.gone.wait()

    async with serving(answer) as server, fetcher(server, seconds=0.3) as (web, counts):
        await refused(web, f"{server.url}/a")
    assert counts.told[0][1] == "timeout"


async def test_a_look_up_that_hangs_is_left_when_the_time_is_over() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    async with fetcher(resolve=never, seconds=0.2) as (web, counts):
        await refused(web, "http://images.example/a")
    assert counts.told[0][1] == "timeout"


async def test_redirects_share_one_time() -> None:
    async def slow(peer: Peer) -> None:
        await asyncio.sleep(0.25)
        await sends_to("/again")(peer)

    async with serving(slow) as server, fetcher(server, seconds=0.6) as (web, counts):
        await refused(web, f"{server.url}/a")
    assert counts.told[0][1] == "timeout"


async def test_the_call_that_waits_bounds_it_too() -> None:
    async def never(peer: Peer) -> None:
        await peer.gone.wait()

    async with serving(never) as server, fetcher(server, seconds=60) as (web, _):
        begun = time.monotonic()
        await refused(web, f"{server.url}/a", seconds=0.2)
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "status", ["404 Not Found", "403 Forbidden", "500 Broken", "503 Busy", "206 Partial", "201 Created"]
)
async def test_any_other_status_is_told_and_not_tried_again(status: str) -> None:
    async with serving(gives(PNG, status=status)) as server, fetcher(server) as (web, counts):
        assert f"answers {status[:3]}" in await refused(web, f"{server.url}/a")
    assert (counts.told[0][1], len(server.peers)) == ("status", 1)


CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\ncontent-type: image/png\r\n\r\n" + PNG


@pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n", CUT], ids=["nothing", "garbage", "cut"])
async def test_an_answer_that_breaks_off_or_is_none_is_refused(raw: bytes) -> None:
    async def answer(peer: Peer) -> None:
        await peer.send(raw)
        peer.close()

    async with serving(answer) as server, fetcher(server) as (web, counts):
        await refused(web, f"{server.url}/a")
    assert [told[1] for told in counts.told] == ["unreachable"]


# --- several for one call ---


def wanted(server: Server, count: int) -> list[Wanted]:
    return [Wanted(f"{server.url}/{number}", "image", f"input[{number}].image_url") for number in range(count)]


async def test_several_are_fetched_side_by_side_but_not_all_at_once_and_come_in_order() -> None:
    now, most = 0, 0

    async def answer(peer: Peer) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        await gives(PNG + peer.head.split(" ")[1].encode())(peer)

    async with serving(answer) as server, fetcher(server, parallel=3) as (web, _):
        got = await web.fetch(wanted(server, 8), 10, "acme")
    assert [bytes_of(media)[len(PNG) :] for media in got] == [f"/{number}".encode() for number in range(8)]
    assert most == 3


async def test_all_of_one_call_share_one_cap() -> None:
    async with (
        serving(gives(PNG)) as server,
        fetcher(server, max_call_bytes=3 * len(PNG) - 1, parallel=1) as (web, counts),
    ):
        assert len(await web.fetch(wanted(server, 2), 10, "acme")) == 2
        with pytest.raises(ServiceError) as caught:
            await web.fetch(wanted(server, 3), 10, "acme")
    assert caught.value.violations[0].path == "input[2].image_url"
    assert counts.told[-1][1] == "too_large"


async def test_more_addresses_than_allowed_are_refused_before_anything_is_fetched() -> None:
    async with serving(gives(PNG)) as server, fetcher(server, max_count=2) as (web, _):
        with pytest.raises(ServiceError) as caught:
            await web.fetch(wanted(server, 3), 10, "acme")
    assert caught.value.violations[0].path == "input[2].image_url"
    assert server.connections == 0


async def test_when_one_fails_the_others_are_left_at_once() -> None:
    async def answer(peer: Peer) -> None:
        if peer.head.startswith("GET /1 "):
            await gives(b"", status="404 Not Found")(peer)
        else:
            await peer.gone.wait()

    async with serving(answer) as server, fetcher(server, seconds=30) as (web, counts):
        begun = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            await web.fetch(wanted(server, 3), 30, "acme")
        assert time.monotonic() - begun < 5
    assert caught.value.violations[0].path == "input[1].image_url"
    assert sorted(told[1] for told in counts.told) == ["cancelled", "cancelled", "status"]


async def test_a_call_that_is_given_up_ends_its_fetches() -> None:
    gone = asyncio.Event()

    async def answer(peer: Peer) -> None:
        await peer.begin("image/png")
        await peer.gone.wait()
        gone.set()

    async with serving(answer) as server, fetcher(server) as (web, counts):
        task = asyncio.create_task(web.fetch(wanted(server, 1), 30, "acme"))
        async with asyncio.timeout(5):
            while not server.peers:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while server.gone_at is None and not gone.is_set():
                await asyncio.sleep(0.01)
    assert counts.told == [("image", "cancelled", 0)]


async def test_bytes_that_calls_hold_count_until_they_are_given_back() -> None:
    async with serving(gives(PNG)) as server, fetcher(server, max_held_bytes=2 * len(PNG)) as (web, counts):
        url = f"{server.url}/a"
        first, second = await get(web, url), await get(web, url)
        with pytest.raises(ServiceError) as caught:
            await get(web, url)
        assert (caught.value.reason, caught.value.retry_after) == (Reason.NO_ENDPOINT_AVAILABLE, 1.0)
        assert caught.value.__cause__ is caught.value.__context__ is None
        web.release([first])
        third = await get(web, url)
        web.release([second, third])
        await web.fetch(wanted(server, 2), 10, "acme")
    assert [told[1] for told in counts.told] == ["ok", "ok", "no_room", "ok", "ok", "ok"]


async def test_a_call_that_fails_or_is_given_up_holds_nothing() -> None:
    told: list[tuple[str, str, int]] = []

    async def answer(peer: Peer) -> None:
        if peer.head.startswith("GET /1 "):
            # The other one is here by then, and held.
            while len(told) % 2 == 0:
                await asyncio.sleep(0.01)
            if len(told) > 4:
                await peer.gone.wait()
            await gives(b"", status="404 Not Found")(peer)
        else:
            await gives(PNG)(peer)

    async with serving(answer) as server, fetcher(server, max_held_bytes=len(PNG)) as (web, counts):
        counts.told = told
        for _ in range(2):
            with pytest.raises(ServiceError):
                await web.fetch(wanted(server, 2), 10, "acme")
        given_up = asyncio.create_task(web.fetch(wanted(server, 2), 10, "acme"))
        async with asyncio.timeout(5):
            while len(told) < 5:
                await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert [each[1] for each in told] == ["ok", "status", "ok", "status", "ok", "cancelled"]
        assert bytes_of(await get(web, f"{server.url}/a")) == PNG


async def test_fetches_of_all_calls_together_are_bounded_and_who_waits_does_so_in_its_own_time() -> None:
    open_now, most, gate = 0, 0, asyncio.Event()

    async def answer(peer: Peer) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await gate.wait()
        open_now -= 1
        await gives(PNG)(peer)

    async with serving(answer) as server, fetcher(server, parallel=10, seconds=30) as (web, counts):
        calls = [asyncio.create_task(web.fetch(wanted(server, 10), 20, f"owner {n % 4}")) for n in range(8)]
        async with asyncio.timeout(10):
            while open_now < 64:
                await asyncio.sleep(0.01)
        begun = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            await get(web, f"{server.url}/late", seconds=0.2)
        assert (caught.value.reason, caught.value.retry_after) == (Reason.NO_ENDPOINT_AVAILABLE, 1.0)
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert time.monotonic() - begun < 2
        assert counts.told == [], "it never began"
        gate.set()
        assert [len(media) for media in await asyncio.gather(*calls)] == [10] * 8
    assert most == 64


async def test_one_owners_slow_hosts_hold_a_quarter_of_the_fetches_and_leave_the_rest_to_others() -> None:
    slow = 0

    async def answer(peer: Peer) -> None:
        nonlocal slow
        if peer.head.startswith("GET /a "):
            await gives(PNG)(peer)
            return
        slow += 1
        await peer.gone.wait()

    async with serving(answer) as server, fetcher(server, parallel=10, seconds=30) as (web, _):
        calls = [asyncio.create_task(web.fetch(wanted(server, 10), 20, "slow")) for _ in range(8)]
        async with asyncio.timeout(10):
            while slow < 16:
                await asyncio.sleep(0.01)
            assert bytes_of(await get(web, f"{server.url}/a")) == PNG
        assert slow == 16
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


def looks_up(names: LookUps, host: str, owner: str) -> asyncio.Task[Sequence[str]]:
    async def look_up() -> Sequence[str]:
        asker.set(Asker(owner))
        return await names(host, 443)

    return asyncio.create_task(look_up())


async def test_one_owners_slow_names_leave_other_owners_their_look_ups() -> None:
    release = threading.Event()
    asked: list[str] = []

    def slow(host: str, port: int) -> Sequence[Any]:
        if host.startswith("slow"):
            asked.append(host)
            release.wait(20)
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    async with serving(gives(PNG)) as server:
        names = LookUps(ask=slow)
        async with fetcher(server, resolve=names, parallel=4, seconds=0.5) as (web, counts):
            bad = [Wanted(f"http://slow{n}.example:{server.port}/", "image", PATH) for n in range(4)]
            calls = [asyncio.create_task(web.fetch(bad, 10, "slow")) for _ in range(4)]
            try:
                async with asyncio.timeout(5):
                    while len(asked) < 4:
                        await asyncio.sleep(0.01)
                    assert bytes_of(await get(web, f"http://good.example:{server.port}/a")) == PNG
                    await asyncio.wait(calls)
                assert len(asked) == 4
                # Given up, the look-ups go on: what waits for them is told so, and not that its address is wrong.
                with pytest.raises(ServiceError) as caught:
                    await web.fetch(bad[:1], 10, "slow")
                assert (caught.value.reason, caught.value.retry_after) == (Reason.NO_ENDPOINT_AVAILABLE, 1.0)
                assert caught.value.__cause__ is caught.value.__context__ is None
                assert counts.told[-1] == ("image", "no_room", 0)
                assert bytes_of(await get(web, f"http://good.example:{server.port}/a")) == PNG
            finally:
                release.set()
        assert {type(call.exception()) for call in calls} == {ServiceError}


async def test_slow_name_servers_hold_up_nobody_elses_look_ups() -> None:
    release = threading.Event()
    asked: list[str] = []

    def slow(host: str, port: int) -> Sequence[Any]:
        asked.append(host)
        release.wait(20)
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    names = LookUps(threads=3, ask=slow)
    waiting = [looks_up(names, f"h{number}.example", f"owner {number}") for number in range(10)]
    try:
        _, pending = await asyncio.wait(waiting, timeout=0.2)
        assert (len(pending), len(asked)) == (10, 3), "its threads are bounded"
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        late = looks_up(names, "late.example", "acme")
        await asyncio.sleep(0.05)
        assert len(asked) == 3, "a look-up that nobody waits for any more keeps its thread"
    finally:
        release.set()
    async with asyncio.timeout(5):
        assert await late == ["127.0.0.1"]
    assert asked[3:] == ["late.example"]


async def test_names_are_looked_up_beside_the_threads_that_providers_names_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    ask = socket.getaddrinfo

    def slow(host: Any, *more: Any, **named: Any) -> Any:
        if str(host).endswith(".slow.example"):
            release.wait(20)
        return ask("127.0.0.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with fetcher() as (web, _):
        calls = [web.fetch([Wanted(f"https://h{n}.slow.example/", "image", PATH)], 0.1, "acme") for n in range(40)]
        try:
            told = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in told} == {ServiceError}
            async with asyncio.timeout(2):
                await asyncio.get_running_loop().getaddrinfo("provider.example", 443)
        finally:
            release.set()


async def test_a_name_that_has_no_address_is_told_as_such() -> None:
    def none(host: str, port: int) -> Sequence[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(socket.gaierror):
        await LookUps(ask=none)("none.example", 443)
    assert await LookUps()("127.0.0.1", 443) == ["127.0.0.1"]
