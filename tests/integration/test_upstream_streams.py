"""Streams through the upstream stack: batches, settling, ends clean and unclean, and who notices a cancel."""

import asyncio
import time
import zlib
from collections.abc import Sequence

import pytest

from adapters.providers.http import HttpSettings
from adapters.providers.upstream import HttpEventSource
from service.domain.catalog import Timeouts
from service.domain.events import Event
from service.domain.failure import FailureKind, UpstreamError
from tests.integration.upstream_server import GENERATION, Peer, context, endpoint, serving, texts, upstream


async def drain(source: HttpEventSource) -> list[list[str]]:
    batches = []
    while batch := await source.next():
        batches.append(texts(batch))
    return batches


async def three_tokens(peer: Peer) -> None:
    await peer.begin()
    for token in (b"one\n", b"two\n", b"three\n"):
        await peer.chunk(token)
        await asyncio.sleep(0.03)
    await peer.chunk(b"END\n")
    await peer.finish()


async def test_each_network_read_is_one_batch_and_the_end_is_an_empty_one() -> None:
    async with serving(three_tokens) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert await drain(source) == [["one"], ["two"], ["three"]]
        assert await source.next() == ()


async def test_open_returns_with_the_headers_before_any_token() -> None:
    opened = asyncio.Event()

    async def headers_first(peer: Peer) -> None:
        await peer.begin()
        await opened.wait()
        await peer.chunk(b"late\nEND\n")
        await peer.finish()

    async with serving(headers_first) as server, upstream() as up:
        source = await asyncio.wait_for(up.open(endpoint(server), GENERATION, context()), 10)
        opened.set()
        assert await drain(source) == [["late"]]


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_stream_without_end_is_ended_at_its_limit_as_a_broken_one_and_its_provider_stopped(
    compressed: bool,
) -> None:
    line = b"x" * 999 + b"\n"
    packed, stopped = zlib.compressobj(wbits=31), asyncio.Event()

    async def never_ends(peer: Peer) -> None:
        await peer.begin("text/event-stream" + ("\r\ncontent-encoding: gzip" if compressed else ""))
        try:
            while not peer.gone.is_set():
                sent = packed.compress(line * 10) + packed.flush(zlib.Z_SYNC_FLUSH)
                await peer.chunk(sent if compressed else line * 10)
                await asyncio.sleep(0)
        finally:
            stopped.set()

    settings = HttpSettings(max_answer_bytes=1024, max_stream_bytes=1_000_000)
    async with serving(never_ends) as server, upstream(settings=settings) as up:
        source = await up.open(endpoint(server), GENERATION, context())
        read = 0
        with pytest.raises(UpstreamError) as caught:
            while batch := await source.next():
                read += sum(len(text) + 1 for text in texts(batch))
        assert caught.value.failure.kind is FailureKind.PROTOCOL
        assert "upstream.max_stream_bytes" in caught.value.failure.message
        assert 500_000 < read <= 1_000_000
        assert await source.next() == ()
        await asyncio.wait_for(stopped.wait(), 5)


async def test_a_stream_as_long_as_its_limit_is_whole() -> None:
    size = len(b"one\ntwo\nthree\nEND\n")
    async with serving(three_tokens) as server, upstream(settings=HttpSettings(max_stream_bytes=size)) as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert await drain(source) == [["one"], ["two"], ["three"]]
    async with serving(three_tokens) as server, upstream(settings=HttpSettings(max_stream_bytes=size - 1)) as up:
        source = await up.open(endpoint(server), GENERATION, context())
        with pytest.raises(UpstreamError, match="protocol: its streamed answer grew larger"):
            await drain(source)


async def test_tokens_gather_while_the_stream_settles() -> None:
    settling, sent = asyncio.Event(), asyncio.Event()

    async def tokens(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"first\n")
        await settling.wait()
        for number in range(20):
            await peer.chunk(b"%d\n" % number)
            await asyncio.sleep(0.005)
        sent.set()
        await peer.gone.wait()

    async with serving(tokens) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert texts(await source.next()) == ["first"]
        settled = asyncio.create_task(source.settle(60))
        settling.set()
        await asyncio.wait_for(sent.wait(), 10)
        assert not settled.done(), "tokens don't end it"
        settled.cancel()
        await asyncio.wait((settled,))
        # What was sent is read from the socket meanwhile.
        await asyncio.sleep(0.05)
        assert texts(await source.next()) == [str(number) for number in range(20)]
        await source.aclose()


async def test_settling_ends_after_its_time_though_nothing_came() -> None:
    async def silent(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\n")
        await peer.gone.wait()

    async with serving(silent) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert texts(await source.next()) == ["one"]
        started = time.monotonic()
        await asyncio.wait_for(source.settle(0.05), 10)
        assert time.monotonic() - started > 0.04
        await source.aclose()


async def test_settling_ends_with_the_stream() -> None:
    settling = asyncio.Event()

    async def quick(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\n")
        await settling.wait()
        await peer.chunk(b"two\nEND\n")
        await peer.finish()

    async with serving(quick) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert texts(await source.next()) == ["one"]
        asyncio.get_running_loop().call_later(0.05, settling.set)
        async with asyncio.timeout(10):
            await source.settle(60)
            assert settling.is_set()
            await source.settle(60)
            assert await drain(source) == [["two"]]
            await source.settle(60)


async def test_settling_makes_no_task_and_leaves_nothing_behind() -> None:
    async def trickles(peer: Peer) -> None:
        await peer.begin()
        for _ in range(200):
            await peer.chunk(b"x\n")
            await asyncio.sleep(0.001)
        await peer.chunk(b"END\n")
        await peer.finish()

    async with serving(trickles) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        before = len(asyncio.all_tasks())
        count = 0
        while batch := await source.next():
            count += len(batch)
            await source.settle(0.002)
            assert len(asyncio.all_tasks()) <= before
        assert count == 200
        callbacks = source._exchange._content._eof_callbacks
        assert callbacks == []


async def test_a_stream_without_its_terminal_marker_is_cut_never_a_clean_end() -> None:
    async def forgets(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\n")
        await peer.finish()

    async with serving(forgets) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert texts(await source.next()) == ["one"]
        with pytest.raises(UpstreamError) as caught:
            await source.next()
    assert caught.value.failure.kind is FailureKind.CUT


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_lost_inside_a_stream_is_cut(reset: bool) -> None:
    async def breaks(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\n")
        await asyncio.sleep(0.1)
        if reset:
            peer.reset()
        else:
            peer.close()

    async with serving(breaks) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert texts(await source.next()) == ["one"]
        with pytest.raises(UpstreamError) as caught:
            await source.next()
        assert await source.next() == ()
    assert caught.value.failure.kind is FailureKind.CUT
    assert "acme" in caught.value.failure.message


async def test_a_connection_lost_after_the_terminal_marker_takes_nothing_away() -> None:
    async def hasty(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\nEND\n")
        await asyncio.sleep(0.1)
        peer.reset()

    async with serving(hasty) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert await drain(source) == [["one"]]


async def test_a_bad_event_ends_the_stream_and_closes_the_connection() -> None:
    async def bad(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"BAD\n")
        await peer.gone.wait()

    async with serving(bad) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        with pytest.raises(UpstreamError) as caught:
            await source.next()
        await asyncio.wait_for(server.peers[0].gone.wait(), 1)
    assert caught.value.failure.kind is FailureKind.PROTOCOL


async def test_silence_inside_a_stream_names_the_idle_timeout() -> None:
    async def stalls(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\n")
        await peer.gone.wait()

    async with serving(stalls) as server, upstream() as up:
        row = endpoint(server, timeouts=Timeouts(first_byte=5, idle=0.2))
        source = await up.open(row, GENERATION, context())
        assert texts(await source.next()) == ["one"]
        started = time.monotonic()
        with pytest.raises(UpstreamError) as caught:
            await source.next()
        assert 0.15 < time.monotonic() - started < 1
        await asyncio.wait_for(server.peers[0].gone.wait(), 1)
    assert "timeouts.idle of provider acme" in caught.value.failure.message


async def test_silence_between_headers_and_first_token_names_the_first_byte_timeout() -> None:
    async def thinks(peer: Peer) -> None:
        await peer.begin()
        await peer.gone.wait()

    async with serving(thinks) as server, upstream() as up:
        row = endpoint(server, timeouts=Timeouts(first_byte=0.2, idle=5))
        source = await up.open(row, GENERATION, context())
        with pytest.raises(UpstreamError) as caught:
            await source.next()
    assert "timeouts.first_byte of provider acme" in caught.value.failure.message


async def test_a_stream_that_keeps_talking_is_not_idle() -> None:
    async def talks(peer: Peer) -> None:
        await peer.begin()
        for _ in range(12):
            await peer.chunk(b"x\n")
            await asyncio.sleep(0.05)
        await peer.chunk(b"END\n")
        await peer.finish()

    async with serving(talks) as server, upstream() as up:
        row = endpoint(server, timeouts=Timeouts(first_byte=0.2, idle=0.2))
        source = await up.open(row, GENERATION, context())
        assert sum(len(batch) for batch in await drain(source)) == 12


async def test_an_event_loop_that_stood_still_is_not_the_providers_silence() -> None:
    async def pauses(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(b"one\n")
        await asyncio.sleep(0.1)
        await peer.chunk(b"two\nEND\n")
        await peer.finish()

    async with serving(pauses) as server, upstream() as up:
        row = endpoint(server, timeouts=Timeouts(first_byte=0.2, idle=0.2))
        source = await up.open(row, GENERATION, context())
        assert texts(await source.next()) == ["one"]
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.5)
        assert await drain(source) == [["two"]]


async def test_a_slow_reader_is_not_the_providers_silence() -> None:
    async with serving(three_tokens) as server, upstream() as up:
        row = endpoint(server, timeouts=Timeouts(first_byte=0.2, idle=0.2))
        source = await up.open(row, GENERATION, context())
        got: Sequence[Event] = await source.next()
        await asyncio.sleep(0.6)
        assert texts(got) + [token for batch in await drain(source) for token in batch] == ["one", "two", "three"]


@pytest.mark.parametrize(("total", "seconds", "named"), [(0.8, 10.0, "timeouts.total"), (5, 0.8, "deadline")])
async def test_total_and_deadline_end_a_stream_that_keeps_talking(
    total: float, seconds: float, named: str
) -> None:
    async def talks(peer: Peer) -> None:
        await peer.begin()
        while not peer.gone.is_set():
            await peer.chunk(b"x\n")
            await asyncio.sleep(0.02)

    async with serving(talks) as server, upstream() as up:
        source = await up.open(endpoint(server, timeouts=Timeouts(total=total)), GENERATION, context(seconds))
        with pytest.raises(UpstreamError) as caught:
            await drain(source)
        await asyncio.wait_for(server.peers[0].gone.wait(), 1)
    assert caught.value.failure.kind is FailureKind.TIMEOUT
    assert named in caught.value.failure.message


async def test_leaving_a_stream_stops_the_upstream_within_100_ms() -> None:
    async def talks(peer: Peer) -> None:
        await peer.begin()
        while not peer.gone.is_set():
            await peer.chunk(b"x\n")
            await asyncio.sleep(0.01)

    async with serving(talks) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        await source.next()
        left = time.monotonic()
        await source.aclose()
        await source.aclose()
        await asyncio.wait_for(server.peers[0].gone.wait(), 1)
        assert await source.next() == ()
    assert server.gone_at is not None
    assert server.gone_at - left < 0.1


async def test_a_read_that_is_cancelled_can_be_followed_by_closing() -> None:
    async def silent(peer: Peer) -> None:
        await peer.begin()
        await peer.gone.wait()

    async with serving(silent) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        read = asyncio.ensure_future(source.next())
        await asyncio.sleep(0.05)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        await source.aclose()
        await asyncio.wait_for(server.peers[0].gone.wait(), 0.1)


async def test_a_stream_read_to_its_end_gives_its_connection_back_and_a_left_one_does_not() -> None:
    async with serving(three_tokens) as server, upstream() as up:
        for _ in range(2):
            await drain(await up.open(endpoint(server), GENERATION, context()))
        assert server.connections == 1
        left = await up.open(endpoint(server), GENERATION, context())
        await left.next()
        await left.aclose()
        assert await drain(await up.open(endpoint(server), GENERATION, context())) == [["one"], ["two"], ["three"]]
        assert server.connections == 2


async def test_a_json_error_with_status_200_is_that_error_and_not_a_cut_stream() -> None:
    async def errs(peer: Peer) -> None:
        await peer.whole(b'{"error": {}}', headers="content-type: application/json; charset=utf-8\r\n")

    async with serving(errs) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.open(endpoint(server), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.OVERLOADED


async def test_a_whole_answer_in_place_of_a_stream_is_read_as_one_batch() -> None:
    async def no_streams(peer: Peer) -> None:
        await peer.whole(b"everything", headers="content-type: application/json\r\n")

    async with serving(no_streams) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        await source.settle(1)
        assert await drain(source) == [["everything"]]


async def test_events_under_another_content_type_are_streamed_all_the_same() -> None:
    more = asyncio.Event()

    async def mislabels(peer: Peer) -> None:
        await peer.begin("application/json")
        for piece in (b"da", b"ta:", b" one\n"):
            await peer.chunk(piece)
            await asyncio.sleep(0.01)
        await more.wait()
        await peer.chunk(b"data: two\nEND\n")
        await peer.finish()

    async with serving(mislabels) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        assert texts(await source.next()) == ["data: one"]
        more.set()
        assert await drain(source) == [["data: two"]]


async def test_an_error_status_for_a_stream_fails_before_anything_is_read() -> None:
    async def limits(peer: Peer) -> None:
        await peer.whole(b"too many", "429 Too Many Requests")

    async with serving(limits) as server, upstream() as up:
        with pytest.raises(UpstreamError) as caught:
            await up.open(endpoint(server), GENERATION, context())
    assert caught.value.failure.kind is FailureKind.RATE_LIMITED


async def test_aiohttps_own_timer_rests_while_a_body_is_read() -> None:
    """When this fails, aiohttp has changed: mend `Exchange._watch`."""

    async with serving(three_tokens) as server, upstream() as up:
        source = await up.open(endpoint(server), GENERATION, context())
        raw = source._exchange._raw
        assert raw.content.is_eof() is False
        assert raw.connection is not None
        assert raw.connection.protocol is not None
        assert raw.connection.protocol.read_timeout is None
        await source.aclose()
