"""Records for models of a server that is not up yet, on a real Kafka: they wait, and nothing waits for them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from adapters.providers.simulator import Script, Simulator
from service.edge.kafka import names
from tests.support.kafka_clients import Kafka
from tests.support.kafka_world import asked, kafka_world
from tests.support.running import Rows, two_dialects


@pytest.mark.slow
async def test_a_record_for_a_server_that_starts_later_is_a_job_then_and_one_for_no_server_a_letter(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with Simulator() as late:
        late.script(Script(echo=True))

        def catalog(alpha: str, beta: str) -> Rows:
            rows = two_dialects(alpha, beta)
            found = {"slug": "late", "dialect": "openai_chat", "base_url": f"{late.url}/v1", "discover": True}
            rows["providers"].append(found)
            return rows

        await late.refuse_connections()
        async with kafka_world(tmp_path, kafka, f"test-{os.getpid()}-late", catalog=catalog) as world:
            early = await world.submit(asked("late/sim-echo"))
            nobodys = await world.submit(asked("late/none"))
            await world.result(await world.submit(asked()))
            await asyncio.sleep(1)
            assert (world.letters(early), world.results(early), world.letters(nobodys)) == ([], [], [])
            await late.accept_connections()
            assert (await world.result(early, 30)).headers[names.STATUS] == b"completed"
            assert (await world.letter(nobodys)).headers[names.DLQ_REASON] == b"unknown_model"

            async def committed() -> bool:
                return await world.lag() == 0

            await world.until(committed, "nothing waits any more")
            await world.settled()
