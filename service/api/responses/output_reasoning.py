"""A piece of reasoning of the output: readable text, summaries, and what its provider wants back."""

from __future__ import annotations

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as pb

from service.api.responses.event_log import EventLog
from service.api.responses.output_item import IN_PROGRESS, Ending, OutputItem
from service.api.responses.sealed import OPENAI, Seal, seal, show_proof
from service.domain.events import ReasoningDelta, ReasoningSeal


class OutputReasoning(OutputItem):
    """Reasoning. A change of kind or of the provider's paragraph begins a part, which is open until the next.

    With `show_encrypted` its end shows what the provider wants back.
    """

    __slots__ = ("_open", "_show_encrypted", "_texts")

    def __init__(self, log: EventLog, index: int, item_id: str, *, show_encrypted: bool) -> None:
        super().__init__(log, index, item_id)
        self.item.reasoning.id = item_id
        self.item.reasoning.status = IN_PROGRESS
        self._show_encrypted = show_encrypted
        # Kind and number of the open part, as the provider tells them apart.
        self._open: tuple[str, int] | None = None
        self._texts: list[str] = []

    def delta(self, delta: ReasoningDelta) -> None:
        """More reasoning."""
        place = (delta.kind, delta.part)
        if self._open != place:
            self._close_part("completed")
            self._open_part(delta.kind)
            self._open = place
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            if delta.kind == "text":
                text = event.reasoning_text_delta
                text.item_id, text.output_index, text.content_index = self.id, self.index, self._at("text")
                text.delta = delta.text
            else:
                summary = event.reasoning_summary_text_delta
                summary.item_id, summary.output_index = self.id, self.index
                summary.summary_index = self._at("summary")
                summary.delta = delta.text
            self.log.add(event)
        self._texts.append(delta.text)

    def seal(self, event: ReasoningSeal) -> None:
        """Adds what the provider wants back, if anything; the item is whole then."""
        if event.signature is None and event.encrypted is None:
            return
        if event.format == OPENAI and event.encrypted is not None and not event.id:
            # This API's own form: nothing has to be said beside it.
            self.item.reasoning.encrypted_content = event.encrypted
        else:
            sealed = Seal(event.format, event.signature, event.encrypted, event.id)
            self.item.reasoning.encrypted_content = seal(sealed)

    def close(self, ending: Ending) -> None:
        """As the base class."""
        self._close_part(ending)
        self.item.reasoning.status = ending
        self.done()

    def hide(self, item: pb.ResponseItem) -> None:
        """As the base class."""
        show_proof(item.reasoning, show=self._show_encrypted)

    def _at(self, kind: str) -> int:
        reasoning = self.item.reasoning
        return len(reasoning.content if kind == "text" else reasoning.summary) - 1

    def _open_part(self, kind: str) -> None:
        reasoning = self.item.reasoning
        event = events_pb.ResponseStreamEvent()
        if kind == "text":
            part = reasoning.content.add()
            part.reasoning_text.SetInParent()
            added = event.content_part_added
            added.item_id, added.output_index, added.content_index = self.id, self.index, self._at(kind)
            added.part.CopyFrom(part)
        else:
            part = reasoning.summary.add()
            part.summary_text.SetInParent()
            summary = event.reasoning_summary_part_added
            summary.item_id, summary.output_index, summary.summary_index = self.id, self.index, self._at(kind)
            summary.part.CopyFrom(part)
        if not self.log.silent:
            self.log.add(event)

    def _close_part(self, ending: Ending) -> None:
        if self._open is None:
            return
        kind = self._open[0]
        text = "".join(self._texts)
        reasoning = self.item.reasoning
        if kind == "text":
            reasoning.content[-1].reasoning_text.text = text
        else:
            reasoning.summary[-1].summary_text.text = text
        if not self.log.silent:
            if kind == "text":
                self._tell_text(text)
            else:
                self._tell_summary(text, ending)
        self._open = None
        self._texts = []

    def _tell_text(self, text: str) -> None:
        at = self._at("text")
        event = events_pb.ResponseStreamEvent()
        told = event.reasoning_text_done
        told.item_id, told.output_index, told.content_index, told.text = self.id, self.index, at, text
        self.log.add(event)
        event = events_pb.ResponseStreamEvent()
        done = event.content_part_done
        done.item_id, done.output_index, done.content_index = self.id, self.index, at
        done.part.CopyFrom(self.item.reasoning.content[at])
        self.log.add(event)

    def _tell_summary(self, text: str, ending: Ending) -> None:
        at = self._at("summary")
        event = events_pb.ResponseStreamEvent()
        told = event.reasoning_summary_text_done
        told.item_id, told.output_index, told.summary_index, told.text = self.id, self.index, at, text
        self.log.add(event)
        event = events_pb.ResponseStreamEvent()
        done = event.reasoning_summary_part_done
        done.item_id, done.output_index, done.summary_index = self.id, self.index, at
        done.part.CopyFrom(self.item.reasoning.summary[at])
        if ending == "incomplete":
            done.status = ending
        self.log.add(event)
