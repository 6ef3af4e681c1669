"""What holds for every response: a stream adds up to its last object, which is the whole answer's."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses import ResponseStream
from openai.types.responses import ResponseStreamEvent as SdkEvent
from openai.types.responses.parsed_response import ParsedResponse
from pydantic import TypeAdapter

from service.api.responses.ids import response_of_item
from service.api.responses.include import ENCRYPTED
from service.api.responses.writer import shown
from service.coalesce import merge
from service.domain.events import Event
from tests.support.response_events import RESPONSE_ID, answers, as_json, made, streamed
from tests.support.responses_schema import check_event

BATCHES = st.lists(st.integers(1, 5), max_size=8)


class Gathered:
    """What a client makes of a stream: items from their events, deltas joined, each end held to its deltas."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.open: set[int] = set()
        self.parts: dict[tuple[int, str, int], list[str]] = {}
        self.texts: dict[int, str] = {}
        self.terminal: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> None:
        assert not self.terminal, "an event after the terminal one"
        kind = event["type"].removeprefix("response.")
        if "response" in event:
            if kind not in ("created", "in_progress"):
                self.terminal = event["response"]
            return
        if "audio" in kind:
            return
        index = event["output_index"]
        if kind == "output_item.added":
            assert index == len(self.items), "items begin in their order"
            self.items.append(event["item"])
            self.open.add(index)
            return
        late_source = kind == "output_text.annotation.added"
        assert index in self.open or late_source, f"{kind} of an item that is over"
        if kind == "output_item.done":
            self._end(index, event["item"])
            return
        assert event["item_id"] == self.items[index]["id"]
        self._piece(kind, index, event)

    def _end(self, index: int, item: dict[str, Any]) -> None:
        begun = self.items[index]
        assert (item["id"], item["type"]) == (begun["id"], begun["type"])
        assert not any(place[0] == index for place in self.parts), "a part is still open"
        if index in self.texts:
            name = "arguments" if item["type"] == "function_call" else "input"
            assert item[name] == self.texts[index]
        if item["type"] == "message":
            assert item["content"] == begun["content"]
        if item["type"] == "reasoning":
            assert item["summary"] == begun["summary"]
            assert item.get("content", []) == begun.get("content", [])
        self.items[index] = item
        self.open.discard(index)

    def _piece(self, kind: str, index: int, event: dict[str, Any]) -> None:
        item = self.items[index]
        where = "summary" if "summary" in kind else "content"
        at = event.get(f"{where}_index", -1)
        place = (index, where, at)
        if kind in ("content_part.added", "reasoning_summary_part.added"):
            parts = item.setdefault(where, [])
            assert at == len(parts)
            assert not any(open_place[0] == index for open_place in self.parts), "two parts open at once"
            parts.append(event["part"])
            self.parts[place] = []
        elif kind in ("content_part.done", "reasoning_summary_part.done"):
            told = event["part"]
            assert told.get("text", told.get("refusal")) == "".join(self.parts.pop(place))
            if told["type"] == "output_text":
                assert told["annotations"] == item["content"][at]["annotations"]
            item[where][at] = told
        elif kind == "output_text.annotation.added":
            annotations = item["content"][at]["annotations"]
            assert event["annotation_index"] == len(annotations)
            annotations.append(event["annotation"])
        elif kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            self.texts[index] = self.texts.get(index, "") + event["delta"]
        elif kind in ("function_call_arguments.done", "custom_tool_call_input.done"):
            told_text = event.get("arguments", event.get("input"))
            assert told_text == self.texts.setdefault(index, "")
        elif kind.endswith(".delta"):
            assert event["delta"] or event.get("logprobs"), "a delta of nothing"
            self.parts[place].append(event["delta"])
        elif kind.endswith(".done"):
            assert event.get("text", event.get("refusal")) == "".join(self.parts[place])
        else:
            assert kind == "web_search_call.searching"


@settings(max_examples=300, deadline=None)
@given(answers(), BATCHES)
def test_a_stream_ends_with_the_response_that_the_whole_answer_is(events: list[Event], batches: list[int]) -> None:
    told = streamed(events, batches=batches)
    arm = told[-1].WhichOneof("event")
    assert arm is not None
    assert getattr(told[-1], arm).response == shown(made(*events), {ENCRYPTED})


@settings(max_examples=300, deadline=None)
@given(answers())
def test_the_events_add_up_to_the_response(events: list[Event]) -> None:
    told = [as_json(event) for event in streamed(events)]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    gathered = Gathered()
    for event in told:
        gathered.take(event)
    assert not gathered.open
    assert gathered.items == gathered.terminal["output"]
    ids = [item["id"] for item in gathered.items]
    assert len({*ids}) == len(ids)
    assert all(response_of_item(each) == RESPONSE_ID for each in ids)


@settings(max_examples=150, deadline=None)
@given(answers(), BATCHES)
def test_how_events_come_in_batches_changes_no_event(events: list[Event], batches: list[int]) -> None:
    assert streamed(events, batches=batches) == streamed(events)


@settings(max_examples=150, deadline=None)
@given(answers())
def test_merging_neighbouring_texts_changes_no_response(events: list[Event]) -> None:
    merged = [each for run in _runs(events) for each in merge(run)]
    assert made(*merged) == made(*events)


def _runs(events: list[Event]) -> list[list[Event]]:
    """Runs in which reasoning is of one paragraph."""
    runs: list[list[Event]] = []
    for event in events:
        part = getattr(event, "part", None)
        if runs and part == getattr(runs[-1][-1], "part", None):
            runs[-1].append(event)
        else:
            runs.append([event])
    return runs


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers(plain=True))
def test_every_event_is_as_the_published_descriptions_have_it(events: list[Event]) -> None:
    for event in streamed(events):
        check_event(as_json(event))


@settings(max_examples=150, deadline=None)
@given(answers(plain=True))
def test_openais_client_adds_the_events_up_to_the_same_response(events: list[Event]) -> None:
    told = [as_json(event) for event in streamed(events)]
    final = _as_the_client_has_it(told)
    shown = told[-1]["response"]
    if final is not None:
        assert _bare(final.to_dict(mode="json")) == _bare(shown)


_EVENTS: TypeAdapter[SdkEvent] = TypeAdapter(SdkEvent)


class _Raw:
    """A stream of events as the client's transport gives it."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events
        self.response = None

    def __iter__(self) -> Any:
        return iter([_EVENTS.validate_python(event) for event in self._events])

    def close(self) -> None:
        pass


def _as_the_client_has_it(told: list[dict[str, Any]]) -> ParsedResponse[None] | None:
    """The final response of OpenAI's stream helper; None where it has none, for answers that are not whole."""
    stream: ResponseStream[None] = ResponseStream(
        raw_stream=_Raw(told),  # type: ignore[arg-type]
        text_format=omit,
        input_tools=omit,
        starting_after=None,
    )
    assert [event.type for event in stream] == [event["type"] for event in told]
    return stream.get_final_response() if told[-1]["type"] == "response.completed" else None


def _bare(value: Any) -> Any:
    """Without nulls and without what the client adds to what it reads."""
    if isinstance(value, dict):
        added = {"parsed", "parsed_arguments"}
        return {key: _bare(item) for key, item in value.items() if item is not None and key not in added}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value
