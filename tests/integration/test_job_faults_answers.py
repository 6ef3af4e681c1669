"""The database did what a caller asked for, and its answer never came: what was done stands."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from adapters.providers.simulator import Script
from service.domain.stored import StoreError
from tests.support.background import ended, follow
from tests.support.responses_door import asked, responses_door
from tests.support.running import ask_response, until


def lose_answers(store: object, method: str, count: int = 1) -> Callable[[], int]:
    """The next calls of this method do what they are asked, and nobody learns of it; how many that were."""
    real = getattr(store, method)
    lost = 0

    @wraps(real)
    async def call(*arguments: Any, **options: Any) -> Any:
        nonlocal lost
        answer = await real(*arguments, **options)
        if lost < count:
            lost += 1
            raise StoreError("the connection was lost")
        return answer

    setattr(store, method, call)
    return lambda: lost


async def test_an_accept_whose_answer_got_lost_is_found_again_by_its_key(
    tmp_path: Path, database_url: str
) -> None:
    async with responses_door(tmp_path, {"database": {"url": database_url}}) as door:
        jobs = door.up.service.database.jobs
        lost = lose_answers(jobs, "accept")
        key = {"idempotency-key": "order-17"}
        refused = await door.create(asked(background=True), headers=key)
        assert (refused.status, refused.error["reason"], lost()) == (503, "STORE_UNAVAILABLE", 1)
        again = await door.create(asked(background=True), headers=key)
        sent = tuple(key.items())
        by_grpc = await door.up.responses.CreateResponse(ask_response(background=True), metadata=sent)
        assert again.status == 200
        assert by_grpc.id == again.json["id"]
        assert (await ended(door, by_grpc.id))["status"] == "completed"
        assert len(door.up.alpha.calls) == 1


async def test_an_accept_whose_answer_got_lost_runs_beside_its_repeat_when_it_has_no_key(
    tmp_path: Path, database_url: str
) -> None:
    async with responses_door(tmp_path, {"database": {"url": database_url}}) as door:
        lose_answers(door.up.service.database.jobs, "accept")
        assert (await door.create(asked(background=True))).status == 503
        again = await door.create(asked(background=True))
        assert (await ended(door, again.json["id"]))["status"] == "completed"
        await door.up.alpha.wait_for(lambda calls: len(calls) == 2 and all(call.finished for call in calls))


async def test_a_cancel_whose_answer_got_lost_stands_and_is_told_to_who_asks_again(
    tmp_path: Path, database_url: str
) -> None:
    async with responses_door(tmp_path, {"database": {"url": database_url}}) as door:
        door.up.alpha.script(Script(tokens=1000, pace=0.02))
        made = (await door.create(asked(background=True))).json["id"]
        await until(lambda: bool(door.up.alpha.calls), "the call begins")
        lose_answers(door.up.service.database.jobs, "cancel")
        assert (await door.call("POST", f"/{made}/cancel")).status == 503
        await door.up.alpha.wait_for(lambda calls: calls[-1].cancelled, 2.0)
        again = await door.call("POST", f"/{made}/cancel")
        assert (again.status, again.json["status"]) == (200, "cancelled")
        assert (await follow(door, made)).types.count("response.cancelled") == 1
