"""The output of one response in the making: which item an event belongs to, and when items begin and end.

Items stand in the order in which they began. A message or reasoning ends when another item begins; a call
too, once its arguments are whole, else it stays open, since fragments of several calls may come in turns.
"""

from __future__ import annotations

from typing import Final

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as pb

from service.api.responses.event_log import EventLog
from service.api.responses.ids import item_id
from service.api.responses.output_calls import CustomCall, FunctionCall, LocalCall, OutputCall, item_kind
from service.api.responses.output_item import Ending, OutputItem
from service.api.responses.output_message import OutputMessage, Said
from service.api.responses.output_provided import OutputProvided
from service.api.responses.output_reasoning import OutputReasoning
from service.domain.events import (
    AudioDelta,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
)

_MAX_POSITION: Final = 0xFFFF
_CALLS: Final[dict[str, type[FunctionCall | CustomCall | LocalCall]]] = {
    "function": FunctionCall,
    "custom": CustomCall,
}


class Output:
    """Takes what the model says; tells `log` of it. Methods raise ValueError for what no response can hold.

    `message` is the open message.
    """

    def __init__(self, log: EventLog, response_id: str, first_position: int, *, show_encrypted: bool) -> None:
        self.message: OutputMessage | None = None
        self._log = log
        self._response_id = response_id
        self._first_position = first_position
        self._show_encrypted = show_encrypted
        self._items: list[OutputItem] = []
        self._reasoning: OutputReasoning | None = None
        self._calls: dict[int, OutputCall] = {}
        self._provided: dict[int, OutputProvided] = {}
        self._audio: list[AudioDelta] = []
        self._said = Said()
        self._spoke = False

    def text(self, delta: TextDelta) -> None:
        """More text. An empty one begins nothing: answers with calls often have one beside them."""
        self._spoke = True
        if delta.text or delta.logprobs:
            (self.message or self.begin_message(None)).text(delta)

    def refusal(self, delta: RefusalDelta) -> None:
        """More of a refusal."""
        if delta.text:
            (self.message or self.begin_message(None)).refusal(delta)

    def begin_message(self, phase: str | None) -> OutputMessage:
        """A message of its own begins."""
        message = OutputMessage(self._log, len(self._items), self._new_id("message"), phase, self._said)
        self._begin(message)
        self.message = message
        return message

    def annotate(self, source: UrlCitation | OpaqueAnnotation) -> None:
        """A source of a text that was said before, although that may be over: some come at an answer's end."""
        if not self._said.texts:
            (self.message or self.begin_message(None)).empty_text()
        self._said.annotate(source)

    def reasoning(self, delta: ReasoningDelta) -> None:
        """More reasoning."""
        if delta.text:
            (self._reasoning or self._begin_reasoning()).delta(delta)

    def seal(self, event: ReasoningSeal) -> None:
        """Ends the open reasoning, or is a piece of its own; an empty one begins none behind an answer."""
        holds = event.signature is not None or event.encrypted is not None
        if self._items and not (holds or isinstance(self._items[-1], OutputReasoning)):
            return
        reasoning = self._reasoning or self._begin_reasoning()
        reasoning.seal(event)
        self._reasoning = None
        reasoning.close("completed")

    def call(self, start: ToolCallStart) -> None:
        """A tool call begins."""
        if start.index in self._calls:
            raise ValueError(f"tool call {start.index} begins twice")
        kind = _CALLS.get(start.kind, LocalCall)
        call = kind(self._log, len(self._items), self._new_id(item_kind(start)), start)
        self._begin(call, announce=kind is not LocalCall)
        self._calls[start.index] = call

    def arguments(self, delta: ToolCallDelta) -> None:
        """More of a tool call; blanks after its end mean nothing."""
        call = self._calls.get(delta.index)
        if call is None:
            raise ValueError(f"a fragment of tool call {delta.index}, which never started")
        if not call.closed:
            if delta.arguments:
                call.more(delta.arguments)
        elif delta.arguments.strip():
            raise ValueError(f"a fragment of tool call {delta.index} after its end")

    def provided(self, event: OpaqueItem) -> None:
        """An item that the provider made by itself, as it is now."""
        item = self._provided.get(event.index)
        if item is None:
            new_id = self._new_id(event.type)
            item = self._provided[event.index] = OutputProvided(self._log, len(self._items), new_id, event)
            self._begin(item)
        else:
            item.update(event)
        if event.done:
            item.close("completed")

    def progress(self, event: OpaqueProgress) -> None:
        """News of such an item; of one that never began there is nothing to tell."""
        item = self._provided.get(event.index)
        if item is not None:
            item.progress(event)

    def audio(self, delta: AudioDelta) -> None:
        """More of an audio answer."""
        if not self._log.silent:
            self._tell_audio(delta)
        self._audio.append(delta)

    @property
    def heard(self) -> AudioDelta | None:
        """An audio answer so far."""
        parts = self._audio
        if not parts:
            return None
        return AudioDelta(
            "".join(part.data for part in parts),
            "".join(part.transcript for part in parts),
            next((part.id for part in parts if part.id), None),
            next((part.expires_at for part in parts if part.expires_at is not None), None),
        )

    def close(self, ending: Ending) -> list[pb.ResponseItem]:
        """Ends what is open, in order, and gives all items."""
        if self._spoke and not self._items and ending == "completed":
            self.begin_message(None).empty_text()
        for item in self._items:
            if not item.closed:
                item.close(ending)
        self.message = self._reasoning = None
        heard = self.heard
        if heard is not None and not self._log.silent:
            over = events_pb.ResponseAudioDoneEvent()
            if heard.data:
                self._log.add(events_pb.ResponseStreamEvent(audio_done=over))
            if heard.transcript:
                self._log.add(events_pb.ResponseStreamEvent(audio_transcript_done=over))
        return [item.item for item in self._items]

    def _tell_audio(self, delta: AudioDelta) -> None:
        if delta.data:
            told = events_pb.ResponseAudioDeltaEvent(delta=delta.data)
            self._log.add(events_pb.ResponseStreamEvent(audio_delta=told))
        if delta.transcript:
            told = events_pb.ResponseAudioDeltaEvent(delta=delta.transcript)
            self._log.add(events_pb.ResponseStreamEvent(audio_transcript_delta=told))

    def _begin_reasoning(self) -> OutputReasoning:
        new_id = self._new_id("reasoning")
        reasoning = OutputReasoning(self._log, len(self._items), new_id, show_encrypted=self._show_encrypted)
        self._begin(reasoning)
        self._reasoning = reasoning
        return reasoning

    def _new_id(self, kind: str) -> str:
        position = self._first_position + len(self._items)
        if position > _MAX_POSITION:
            raise ValueError(f"more than {_MAX_POSITION + 1} items")
        return item_id(kind, self._response_id, position)

    def _begin(self, item: OutputItem, *, announce: bool = True) -> None:
        """Ends what this item ends, and takes it in."""
        if self.message is not None:
            self.message.close("completed")
            self.message = None
        if self._reasoning is not None:
            self._reasoning.close("completed")
            self._reasoning = None
        for call in self._calls.values():
            if not call.closed:
                if call.is_whole():
                    call.close("completed")
                else:
                    call.announce()
        self._items.append(item)
        if announce:
            item.announce()
