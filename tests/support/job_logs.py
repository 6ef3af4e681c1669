"""What is stored of a job, and what must hold of it however it came to its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb

from service.domain.job_store import JobStore
from service.domain.jobs import TERMINAL
from service.domain.stored import ResponseStore

OWNER: Final = "local"
"""Whose jobs tests.support.working makes."""


@dataclass(frozen=True, slots=True)
class Log:
    """A job's events as its readers get them, and its object."""

    events: list[events_pb.ResponseStreamEvent]
    response: object_pb.Response
    status: str

    @property
    def arms(self) -> list[str]:
        """The events' kinds."""
        return [event.WhichOneof("event") or "" for event in self.events]

    def check(self) -> None:
        """Numbers without gaps, one end, and what follows the last restart folds to the object."""
        assert [event.sequence_number for event in self.events] == list(range(len(self.events)))
        arms = self.arms
        assert arms[:2] == ["created", "queued"]
        ends = [arm for arm in arms if arm in {state.value for state in TERMINAL}]
        assert ends == [self.status], arms
        assert arms[-1] == self.status
        assert getattr(self.events[-1], self.status).response == self.response
        folded(self.events, self.response)


def folded(events: Iterable[events_pb.ResponseStreamEvent], response: object_pb.Response) -> None:
    """Checks that a reader who forgets at every restart has the object's output in the end."""
    items: dict[int, items_pb.ResponseItem] = {}
    texts: dict[tuple[int, int], str] = {}
    for event in events:
        match event.WhichOneof("event"):
            case "restarted":
                items, texts = {}, {}
            case "output_item_done":
                items[event.output_item_done.output_index] = event.output_item_done.item
            case "output_text_delta":
                delta = event.output_text_delta
                place = (delta.output_index, delta.content_index)
                texts[place] = texts.get(place, "") + delta.delta
            case _:
                pass
    assert [items[index] for index in sorted(items)] == list(response.output)
    for (item, part), text in texts.items():
        assert response.output[item].message.content[part].output_text.text == text


async def log_of(jobs: JobStore, responses: ResponseStore, job_id: str) -> Log:
    """What is stored of a job."""
    page = await jobs.events(OWNER, job_id, -1, 100_000)
    row = await responses.get(OWNER, job_id)
    assert row is not None
    assert page.state == row.status
    events: list[events_pb.ResponseStreamEvent] = []
    for logged in page.events:
        event = events_pb.ResponseStreamEvent.FromString(logged.body)
        assert logged.sequence == len(events), "a gap"
        event.sequence_number = logged.sequence
        events.append(event)
    return Log(events, pb.StoredResponseBody.FromString(row.response).response, row.status)
