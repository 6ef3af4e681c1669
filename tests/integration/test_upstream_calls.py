"""Whole answers through the upstream stack: what goes out, what comes back, and how each failure is called."""

import asyncio
import gzip
import socket
import ssl
import traceback
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from adapters.providers.http import HttpSettings
from adapters.providers.listing import Listing, ListingError
from adapters.providers.secrets import Secrets
from service.domain.catalog import Auth, Quirks, Timeouts
from service.domain.failure import Failure, FailureKind, UpstreamError
from tests.integration.upstream_server import (
    GENERATION,
    SECRET,
    Answer,
    Peer,
    context,
    endpoint,
    lines,
    serving,
    texts,
    upstream,
)


async def says_hello(peer: Peer) -> None:
    await peer.whole(b"hello")


async def failure_from(answer: Answer, timeouts: Timeouts | None = None, seconds: float = 10.0) -> Failure:
    async with serving(answer) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server, timeouts=timeouts), GENERATION, context(seconds))
        assert not any(SECRET in line for line in traceback.format_exception(caught.value))
        return caught.value.failure


async def test_a_call_sends_the_body_once_with_credentials_trace_and_request_id() -> None:
    async with serving(says_hello) as server, upstream(lines(b"the body")) as up:
        answer = await up.call(endpoint(server), GENERATION, context(traceparent="00-aa-bb-01", tracestate="k=v"))
    assert texts(answer) == ["hello"]
    (peer,) = server.peers
    assert peer.head.startswith("POST /lines HTTP/1.1\r\n")
    assert peer.body == b"the body"
    assert peer.header("authorization") == f"Bearer {SECRET}"
    assert peer.header("user-agent") == "eurouter/1.2.3"
    assert peer.header("x-request-id") == "req-1"
    assert (peer.header("traceparent"), peer.header("tracestate")) == ("00-aa-bb-01", "k=v")
    assert peer.header("content-type") == "text/plain"
    assert peer.head.lower().count("\r\naccept-encoding:") == 1
    assert peer.header("cookie") is None


async def test_a_permit_that_is_gone_once_there_is_a_connection_lets_nothing_out() -> None:
    class GoneError(Exception):
        pass

    asked: list[int] = []

    def permit() -> None:
        asked.append(server.connections)
        if len(asked) > 1:
            raise GoneError

    async with serving(says_hello) as server, upstream() as up:
        await up.call(endpoint(server), GENERATION, replace(context(), permit=permit))
        with pytest.raises(GoneError):
            await up.call(endpoint(server), GENERATION, replace(context(), permit=permit))
        # Who asks for no permit is asked for none, whatever ran before.
        await up.call(endpoint(server), GENERATION, context())
    assert len(asked) == 2
    assert len(server.peers) == 2


async def test_a_provider_that_is_not_ours_learns_neither_request_id_nor_trace() -> None:
    async with serving(says_hello) as server, upstream() as up:
        await up.call(
            endpoint(server, ours=False), GENERATION, context(traceparent="00-aa-bb-01", tracestate="k=v")
        )
    for name in ("x-request-id", "traceparent", "tracestate"):
        assert server.peers[0].header(name) is None


async def test_trace_headers_that_are_not_set_are_not_sent() -> None:
    async with serving(says_hello) as server, upstream() as up:
        await up.call(endpoint(server), GENERATION, context())
    assert server.peers[0].header("traceparent") is None
    assert server.peers[0].header("tracestate") is None


@pytest.mark.parametrize(
    ("auth", "line", "header"),
    [
        (Auth(), "POST /lines HTTP/1.1", None),
        (Auth("header", "x-api-key", "env:KEY"), "POST /lines HTTP/1.1", SECRET),
        (Auth("query", "key", "env:KEY"), f"POST /lines?key={SECRET} HTTP/1.1", None),
    ],
    ids=["none", "header", "query"],
)
async def test_each_kind_of_auth_puts_the_key_where_the_row_says(
    auth: Auth, line: str, header: str | None
) -> None:
    async with serving(says_hello) as server, upstream() as up:
        await up.call(endpoint(server, auth=auth), GENERATION, context())
    (peer,) = server.peers
    assert peer.head.split("\r\n")[0] == line
    assert peer.header("x-api-key") == header
    assert peer.header("authorization") is None


async def test_a_rows_path_and_headers_replace_the_dialects() -> None:
    quirks = Quirks(path="/other/path", headers=(("x-plan", "eu"), ("content-type", "text/special")))
    async with serving(says_hello) as server, upstream() as up:
        await up.call(endpoint(server, quirks=quirks), GENERATION, context())
    (peer,) = server.peers
    assert peer.head.startswith("POST /other/path HTTP/1.1")
    assert (peer.header("x-plan"), peer.header("content-type")) == ("eu", "text/special")


async def test_calls_one_after_the_other_share_one_connection() -> None:
    async with serving(says_hello) as server, upstream() as up:
        for _ in range(5):
            await up.call(endpoint(server), GENERATION, context())
    assert (len(server.peers), server.connections) == (5, 1)


async def test_a_body_of_megabytes_arrives_whole_and_without_a_warning() -> None:
    body = bytes(range(256)) * 12_000
    async with serving(says_hello) as server, upstream(lines(body)) as up:
        await up.call(endpoint(server), GENERATION, context())
    assert server.peers[0].body == body
    assert server.peers[0].header("transfer-encoding") is None


async def test_a_providers_cookie_is_not_sent_back() -> None:
    async def sets_cookie(peer: Peer) -> None:
        await peer.whole(b"hello", headers="set-cookie: who=me\r\n")

    async with serving(sets_cookie) as server, upstream() as up:
        for _ in range(2):
            await up.call(endpoint(server), GENERATION, context())
    assert server.peers[1].header("cookie") is None


async def test_a_redirect_is_not_followed() -> None:
    async def redirects(peer: Peer) -> None:
        await peer.whole(b"elsewhere", "307 Temporary Redirect", "location: /elsewhere\r\n")

    async with serving(redirects) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server), GENERATION, context())
    assert caught.value.failure.status == 307
    assert len(server.peers) == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_an_answer_that_is_compressed_all_the_same_is_decompressed(encoding: str) -> None:
    text = "hello " * 500_000

    async def compresses(peer: Peer) -> None:
        data = gzip.compress(text.encode()) if encoding == "gzip" else zlib.compress(text.encode())
        await peer.whole(data, headers=f"content-encoding: {encoding}\r\n")

    async with serving(compresses) as server, upstream() as up:
        assert texts(await up.call(endpoint(server), GENERATION, context())) == [text]


@pytest.mark.parametrize("compressed", [False, True])
async def test_an_answer_over_the_limit_is_refused_however_small_it_is_on_the_wire(compressed: bool) -> None:
    async def sends_much(peer: Peer) -> None:
        body = b"x" * 3_000_000
        if compressed:
            await peer.whole(gzip.compress(body), headers="content-encoding: gzip\r\n")
        else:
            await peer.whole(body)

    async with serving(sends_much) as server, upstream(settings=HttpSettings(max_answer_bytes=2_000_000)) as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.PROTOCOL
    assert "2000000 bytes" in caught.value.failure.message


@pytest.mark.parametrize(
    ("data", "encoding", "kind"),
    [
        (b"\x00not gzip", "gzip", FailureKind.PROTOCOL),
        (gzip.compress(b"hello" * 1000)[:-20], "gzip", FailureKind.CUT),
        (b"hello", "br", FailureKind.PROTOCOL),
    ],
    ids=["garbage", "cut", "unknown"],
)
async def test_broken_compression_is_named(data: bytes, encoding: str, kind: FailureKind) -> None:
    async def answer(peer: Peer) -> None:
        await peer.whole(data, headers=f"content-encoding: {encoding}\r\n")

    assert (await failure_from(answer)).kind is kind


async def test_a_status_other_than_2xx_is_classified_by_the_dialect_with_its_headers_and_body() -> None:
    async def limits(peer: Peer) -> None:
        await peer.whole(b"too many", "429 Too Many Requests", "x-code: slow-down\r\n")

    failure = await failure_from(limits)
    assert failure == Failure(FailureKind.RATE_LIMITED, "too many", 429, code="slow-down")


async def test_an_error_whose_body_breaks_off_keeps_its_status() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 429 Too Many\r\ncontent-length: 100\r\n\r\ntoo m")
        peer.close()

    failure = await failure_from(breaks)
    assert (failure.status, failure.message) == (429, "too m")


async def test_a_key_that_a_provider_repeats_is_not_shown() -> None:
    async def repeats(peer: Peer) -> None:
        await peer.whole(f"wrong key {SECRET}!".encode(), "401 Unauthorized")

    assert (await failure_from(repeats)).message == "wrong key [key]!"


async def test_a_refused_connection_is_a_connect_failure() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with upstream() as up:
            with pytest.raises(UpstreamError) as caught:
                await up.call(endpoint(f"http://127.0.0.1:{port}"), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.CONNECT
    assert caught.value.failure.message.startswith("no connection to acme")
    assert str(port) not in caught.value.failure.message


async def test_an_unresolvable_host_is_a_connect_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fails)
    async with upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint("http://nowhere.invalid"), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.CONNECT
    assert caught.value.failure.message == "the host name of acme does not resolve"


async def test_a_certificate_that_nobody_vouches_for_is_a_connect_failure_that_says_so() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with serving(says_hello, tls) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(f"https://127.0.0.1:{server.port}"), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.CONNECT
    assert "TLS certificate is not trusted" in caught.value.failure.message
    assert server.peers == []


async def test_a_call_over_tls_with_a_known_authority_works() -> None:
    authority = trustme.CA()
    tls, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(ours)
    async with serving(says_hello, tls) as server, upstream(tls=ours) as up:
        row = endpoint(f"https://127.0.0.1:{server.port}")
        assert texts(await up.call(row, GENERATION, context())) == ["hello"]


async def test_the_settings_authority_is_trusted_by_calls_and_by_discovery(tmp_path: Path) -> None:
    async def lists_models(peer: Peer) -> None:
        await peer.whole(b"hello" if peer.head.startswith("POST") else b'{"data": []}')

    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca_file = str(tmp_path / "ca.pem")
    async with serving(lists_models, tls) as server, upstream(settings=HttpSettings(ca_file=ca_file)) as up:
        row = endpoint(f"https://127.0.0.1:{server.port}")
        assert texts(await up.call(row, GENERATION, context())) == ["hello"]
        listing = Listing(Secrets({"KEY": SECRET}), "test", ca_file=ca_file)
        assert await listing(row.provider, "/models") == {"data": []}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [("401 Unauthorized", b"no", "status 401"), ("200 OK", b"no", "not JSON"), ("", b"", "not reached")],
)
async def test_a_failed_discovery_says_what_is_wrong_and_not_the_key_in_its_address(
    status: str, body: bytes, said: str
) -> None:
    async def fails(peer: Peer) -> None:
        if status:
            await peer.whole(body, status)
        else:
            peer.reset()

    async with serving(fails) as server:
        row = endpoint(server, auth=Auth("query", "key", "env:KEY"))
        with pytest.raises(ListingError, match=said) as caught:
            await Listing(Secrets({"KEY": SECRET}), "test")(row.provider, "/models")
    assert SECRET in server.peers[0].head
    assert not any(SECRET in line for line in traceback.format_exception(caught.value))


async def test_a_base_url_that_is_none_is_named() -> None:
    async with upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint("ftp://127.0.0.1"), GENERATION, context())
    assert "base_url of provider acme" in caught.value.failure.message


@pytest.mark.parametrize("auth", [None, Auth("query", "key", "env:KEY")], ids=["header", "query"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:808O/v1", "http://[::1/v1", "http://llm..svc/v1"])
async def test_a_base_url_that_cannot_be_dialled_is_a_failed_connection_that_shows_no_key(
    address: str, auth: Auth | None
) -> None:
    async with upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(address, auth=auth), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.CONNECT
    assert "base_url of provider acme" in caught.value.failure.message
    assert not any(SECRET in line for line in traceback.format_exception(caught.value))
    with pytest.raises(ListingError, match="not reached"):
        await Listing(Secrets({"KEY": SECRET}), "test")(endpoint(address, auth=auth).provider, "/models")


async def test_a_connection_lost_before_the_answer_is_a_connect_failure_and_not_tried_again() -> None:
    async def hangs_up(peer: Peer) -> None:
        peer.close()

    async with serving(hangs_up) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.CONNECT
    assert len(server.peers) == 1


async def test_a_pooled_connection_that_dies_under_a_request_is_not_tried_again() -> None:
    async def answers_once(peer: Peer) -> None:
        if len(server.peers) == 1:
            await peer.whole(b"hello")
        else:
            peer.reset()

    async with serving(answers_once) as server, upstream() as up:
        await up.call(endpoint(server), GENERATION, context())
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.CONNECT
    assert (len(server.peers), server.connections) == (2, 1)


async def test_a_body_that_breaks_off_is_cut() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        peer.close()

    assert (await failure_from(breaks)).kind is FailureKind.CUT


async def test_a_reset_inside_the_body_is_cut() -> None:
    async def resets(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        peer.reset()

    assert (await failure_from(resets)).kind is FailureKind.CUT


async def test_bytes_that_are_not_http_are_a_protocol_failure() -> None:
    async def rambles(peer: Peer) -> None:
        await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    assert (await failure_from(rambles)).kind is FailureKind.PROTOCOL


async def test_a_connection_that_is_not_accepted_in_time_names_the_connect_timeout() -> None:
    # A full backlog: nobody accepts, so that the handshake of a further connection does not end.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(8):
            blocked = socket.socket()
            blocked.setblocking(False)
            blocked.connect_ex(address)
            waiting.append(blocked)
        await asyncio.sleep(0.05)
        try:
            async with upstream() as up:
                row = endpoint(f"http://127.0.0.1:{address[1]}", timeouts=Timeouts(connect=0.2))
                with pytest.raises(UpstreamError) as caught:
                    await up.call(row, GENERATION, context())
        finally:
            for blocked in waiting:
                blocked.close()
    failure = caught.value.failure
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.message == "no connection to acme within 0.2 s (timeouts.connect of provider acme)"


async def test_a_call_that_finds_no_free_connection_waits_no_longer_than_the_connect_timeout() -> None:
    async def dawdles(peer: Peer) -> None:
        await asyncio.sleep(1)
        await peer.whole(b"hello")

    async with serving(dawdles) as server, upstream(settings=HttpSettings(max_connections=1)) as up:
        row = endpoint(server, timeouts=Timeouts(connect=0.2))
        first = asyncio.ensure_future(up.call(row, GENERATION, context()))
        await asyncio.sleep(0.05)
        with pytest.raises(UpstreamError) as caught:
            await up.call(row, GENERATION, context())
        assert texts(await first) == ["hello"]
    assert "timeouts.connect" in caught.value.failure.message


async def test_a_slow_first_byte_names_its_setting() -> None:
    async def sleeps(peer: Peer) -> None:
        await asyncio.sleep(5)

    failure = await failure_from(sleeps, Timeouts(first_byte=0.2))
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.message == "acme did not begin to answer within 0.2 s (timeouts.first_byte of provider acme)"


async def test_a_body_that_falls_silent_names_the_idle_timeout() -> None:
    async def stalls(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await asyncio.sleep(5)

    failure = await failure_from(stalls, Timeouts(first_byte=3, idle=0.2))
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.message == "acme fell silent in its answer for 0.2 s (timeouts.idle of provider acme)"


async def drips(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.02)


async def test_an_answer_that_never_ends_names_the_total_timeout() -> None:
    failure = await failure_from(drips, Timeouts(total=0.4))
    assert failure.kind is FailureKind.TIMEOUT
    assert "timeouts.total of provider acme" in failure.message


async def test_total_bounds_the_wait_for_the_first_byte_as_well() -> None:
    async def sleeps(peer: Peer) -> None:
        await asyncio.sleep(5)

    assert "timeouts.total" in (await failure_from(sleeps, Timeouts(total=0.2))).message


@pytest.mark.parametrize("answers", [True, False])
async def test_the_calls_deadline_bounds_everything_when_it_is_nearer_than_the_timeouts(answers: bool) -> None:
    async def sleeps(peer: Peer) -> None:
        await asyncio.sleep(5)

    failure = await failure_from(drips if answers else sleeps, Timeouts(), seconds=0.3)
    assert failure.kind is FailureKind.TIMEOUT
    assert "deadline" in failure.message


async def test_nothing_is_sent_when_the_deadline_has_passed() -> None:
    async with serving(says_hello) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server), GENERATION, context(-1))
    assert caught.value.failure.kind is FailureKind.TIMEOUT
    assert server.connections == 0


async def test_a_missing_secret_is_an_auth_failure_that_names_the_reference_and_nothing_is_sent() -> None:
    async with serving(says_hello) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call(endpoint(server, auth=Auth("bearer", "", "env:ABSENT")), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.AUTH
    assert "env:ABSENT" in caught.value.failure.message
    assert server.connections == 0


async def test_cancelling_a_call_that_waits_stops_the_upstream_within_100_ms() -> None:
    import time

    async def sleeps(peer: Peer) -> None:
        await peer.gone.wait()

    async with serving(sleeps) as server, upstream() as up:
        call = asyncio.ensure_future(up.call(endpoint(server), GENERATION, context()))
        while not server.peers:
            await asyncio.sleep(0.005)
        call.cancel()
        left = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.peers[0].gone.wait(), 10)
    assert server.gone_at is not None
    assert server.gone_at - left < 0.1
