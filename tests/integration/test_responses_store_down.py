"""What an absent database fails, at both doors, and what it must not touch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc import aio

from adapters.providers.simulator import Script
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import ask, ask_response, free_ports
from tests.support.statuses import info_of

PASSWORD = "a-passw0rd-of-nobody"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    """A service whose database is not there."""
    url = f"postgresql://somebody:{PASSWORD}@127.0.0.1:{free_ports(1)[0]}/eurouter"
    async with responses_door(tmp_path, {"database": {"url": url}}) as opened:
        opened.up.alpha.script(Script(text="one two"))
        yield opened


async def test_a_whole_answer_that_can_not_be_stored_is_an_error_and_not_given(door: ResponsesDoor) -> None:
    answer = await door.create(asked())
    assert (answer.status, answer.error["reason"], answer.error["code"]) == (
        503,
        "STORE_UNAVAILABLE",
        "not_stored",
    )
    assert "store false" in answer.error["message"]
    assert PASSWORD not in answer.error["message"]
    with pytest.raises(aio.AioRpcError) as caught:
        await door.up.responses.CreateResponse(ask_response())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(caught.value).reason == "STORE_UNAVAILABLE"
    assert PASSWORD not in (caught.value.details() or "")


async def test_a_stream_that_can_not_be_stored_ends_with_an_error_and_no_terminal_event(
    door: ResponsesDoor,
) -> None:
    followed = await door.stream(asked())
    assert followed.text == "one two"
    assert (followed.last["type"], followed.last["code"]) == ("error", "not_stored")
    assert "response.completed" not in followed.types
    assert followed.done
    arms: list[str | None] = []
    with pytest.raises(aio.AioRpcError) as caught:
        async for event in door.up.responses.StreamResponse(ask_response()):
            arms.append(event.WhichOneof("event"))  # noqa: PERF401  what came before the failure counts
    assert (arms[-1], "completed" in arms) == ("error", False)
    assert info_of(caught.value).reason == "STORE_UNAVAILABLE"


async def test_what_needs_no_storage_needs_no_database(door: ResponsesDoor) -> None:
    assert (await door.create(asked(store=False))).json["store"] is False
    assert (await door.stream(asked(store=False))).last["type"] == "response.completed"
    assert (await door.up.chat.CreateChatCompletion(ask())).choices


async def test_what_reads_the_store_says_that_it_is_away_and_asks_no_provider(door: ResponsesDoor) -> None:
    some = "resp_" + "0" * 36
    referring = asked(text=[{"type": "item_reference", "id": "msg_" + "0" * 40}], store=False)
    refused = [
        await door.call("GET", f"/{some}"),
        await door.call("GET", f"/{some}/input_items"),
        await door.call("DELETE", f"/{some}"),
        await door.create(asked(previous_response_id=some, store=False)),
        await door.create(referring),
    ]
    assert [(answer.status, answer.error["reason"]) for answer in refused] == [(503, "STORE_UNAVAILABLE")] * 5
    assert not door.up.alpha.calls
