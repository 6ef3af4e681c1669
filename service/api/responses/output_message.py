"""A message of the output: parts of text and refusal, each with its deltas, sources and end."""

from __future__ import annotations

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as pb

from service.api.responses.event_log import EventLog
from service.api.responses.output_item import IN_PROGRESS, Ending, OutputItem
from service.api.responses.pieces import annotation, logprobs
from service.domain.events import OpaqueAnnotation, RefusalDelta, TextDelta, UrlCitation


class Said:
    """All texts of an answer: each part's message, place and where in the answer's text it begins."""

    __slots__ = ("characters", "texts")

    def __init__(self) -> None:
        self.characters = 0
        self.texts: list[tuple[OutputMessage, int, int]] = []

    def annotate(self, source: UrlCitation | OpaqueAnnotation) -> None:
        """One more source, of the text that it cites, which may be over; of others, of the last one.

        There must be a text.
        """
        message, place, start = self.texts[-1]
        if isinstance(source, UrlCitation):
            before = (each for each in reversed(self.texts) if each[2] <= source.start_index)
            message, place, start = next(before, self.texts[0])
        message.annotate(source, place, start)


class OutputMessage(OutputItem):
    """A message. Its last part is open until another kind of part or the end comes.

    `template` is the delta event of the open part when that is a text, else None: copying it and setting
    what differs is the quickest way to the event that a stream consists of.
    """

    __slots__ = ("_content", "_logprobs", "_part", "_said", "_texts", "template")

    def __init__(self, log: EventLog, index: int, item_id: str, phase: str | None, said: Said) -> None:
        super().__init__(log, index, item_id)
        message = self.item.message
        message.id = item_id
        message.role = "assistant"
        message.status = IN_PROGRESS
        if phase is not None:
            message.phase = phase
        self._content = message.content
        self._said = said
        self._part: pb.ResponseContent | None = None
        self._texts: list[str] = []
        self._logprobs: list[pb.ResponseLogprob] = []
        self.template: events_pb.ResponseStreamEvent | None = None

    def plain_text(self, template: events_pb.ResponseStreamEvent, text: str) -> events_pb.ResponseStreamEvent:
        """More of the open text, whose `template` this is: the event for it, straight away."""
        event = events_pb.ResponseStreamEvent()
        event.CopyFrom(template)
        event.output_text_delta.delta = text
        event.sequence_number = self.log.number()
        self._texts.append(text)
        return event

    def text(self, delta: TextDelta) -> None:
        """More text."""
        tokens = logprobs(delta.logprobs) if delta.logprobs else []
        self._open(refusal=False)
        if self.template is not None:
            event = events_pb.ResponseStreamEvent()
            event.CopyFrom(self.template)
            event.output_text_delta.delta = delta.text
            event.output_text_delta.logprobs.extend(tokens)
            self.log.add(event)
        self._texts.append(delta.text)
        self._logprobs += tokens

    def refusal(self, delta: RefusalDelta) -> None:
        """More of a refusal; its log probabilities have no place in this API."""
        self._open(refusal=True)
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            told = event.refusal_delta
            told.item_id, told.output_index, told.content_index = self.id, self.index, len(self._content) - 1
            told.delta = delta.text
            self.log.add(event)
        self._texts.append(delta.text)

    def empty_text(self) -> None:
        """A text part with nothing in it yet, unless a text is open."""
        self._open(refusal=False)

    def annotate(self, source: UrlCitation | OpaqueAnnotation, at: int, start: int) -> None:
        """One more source of the part at `at`, whose text begins at the answer's character `start`."""
        written = annotation(source, start)
        annotations = self._content[at].output_text.annotations
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            told = event.output_text_annotation_added
            told.item_id, told.output_index, told.content_index = self.id, self.index, at
            told.annotation_index = len(annotations)
            told.annotation.CopyFrom(written)
            self.log.add(event)
        annotations.append(written)

    def close(self, ending: Ending) -> None:
        """As the base class."""
        self._close_part()
        self.item.message.status = ending
        self.done()

    def _open(self, *, refusal: bool) -> None:
        part = self._part
        if part is not None:
            if part.HasField("refusal") is refusal:
                return
            self._close_part()
        part = self._part = self._content.add()
        (part.refusal if refusal else part.output_text).SetInParent()
        at = len(self._content) - 1
        if not refusal:
            self._said.texts.append((self, at, self._said.characters))
        if self.log.silent:
            return
        event = events_pb.ResponseStreamEvent()
        added = event.content_part_added
        added.item_id, added.output_index, added.content_index = self.id, self.index, at
        added.part.CopyFrom(part)
        self.log.add(event)
        if not refusal:
            self.template = events_pb.ResponseStreamEvent()
            told = self.template.output_text_delta
            told.item_id, told.output_index, told.content_index = self.id, self.index, at

    def _close_part(self) -> None:
        part = self._part
        if part is None:
            return
        text = "".join(self._texts)
        if part.HasField("refusal"):
            part.refusal.refusal = text
        else:
            part.output_text.text = text
            self._said.characters += len(text)
            part.output_text.logprobs.extend(self._logprobs)
        if not self.log.silent:
            self._tell_part(part)
        self._part = self.template = None
        self._texts = []
        self._logprobs = []

    def _tell_part(self, part: pb.ResponseContent) -> None:
        at = len(self._content) - 1
        event = events_pb.ResponseStreamEvent()
        if part.HasField("refusal"):
            refused = event.refusal_done
            refused.item_id, refused.output_index, refused.content_index = self.id, self.index, at
            refused.refusal = part.refusal.refusal
        else:
            told = event.output_text_done
            told.item_id, told.output_index, told.content_index = self.id, self.index, at
            told.text = part.output_text.text
            told.logprobs.extend(self._logprobs)
        self.log.add(event)
        event = events_pb.ResponseStreamEvent()
        done = event.content_part_done
        done.item_id, done.output_index, done.content_index = self.id, self.index, at
        done.part.CopyFrom(part)
        self.log.add(event)
