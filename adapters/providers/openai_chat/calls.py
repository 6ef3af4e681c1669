"""Tool calls of one choice, put together from fragments as real servers send them.

OpenAI sends index, id and name in a call's first fragment and index with argument text after it. Others leave
the index out, use index 0 for every call (Gemini's look-alike), repeat the name, send the id late or never.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import Any, Final, Literal

import orjson

from service.domain.events import Event, ToolCallDelta, ToolCallStart
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.json_stream import ValueEnd

# Mistral's word for an id that is left out (its OpenAPI document: ToolCall).
_NO_ID: Final = "null"


class _Call:
    __slots__ = ("_end", "choice", "complete", "held", "id", "index", "kind", "name", "started")

    def __init__(self, index: int, choice: int) -> None:
        self.index = index
        self.choice = choice
        self.id = ""
        self.name = ""
        self.kind: Literal["function", "custom"] = "function"
        self.started = False
        self.held: list[str] = []  # argument text that came before the call could start
        self.complete = False  # what is held is a whole JSON object: without ids that is where a call ends
        self._end: ValueEnd | None = ValueEnd()

    def hold(self, text: str) -> None:
        """More argument text of a call that can't start yet; each character is looked at once."""
        self.held.append(text)
        if self._end is None or self._end.feed(text) < 0:
            return
        self._end = None
        try:
            orjson.loads("".join(self.held))
        except orjson.JSONDecodeError:
            return
        self.complete = True

    def start(self, out: list[Event]) -> None:
        self.started = True
        self.complete = False
        out.append(ToolCallStart(self.index, self.id, self.name, self.kind, self.choice))
        text = "".join(self.held)
        if text:
            out.append(ToolCallDelta(self.index, text, self.choice))
        self.held.clear()


class CallTracker:
    """One choice's calls. Events come out as soon as a call's id and name are known."""

    __slots__ = ("_by_id", "_by_index", "_calls", "_choice")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, fragments: list[dict[str, Any]], out: list[Event], *, whole: bool) -> None:
        """The entries of `tool_calls`; `whole`: each entry is a call of its own."""
        for position, entry in enumerate(fragments):
            custom = entry.get("custom")
            body = (entry.get("function") if custom is None else custom) or {}
            name = body.get("name") or ""
            call_id = entry.get("id") or ""
            if call_id == _NO_ID:
                call_id = ""
            call = self._new() if whole else self._find(entry.get("index"), call_id, name, position)
            if custom is not None or entry.get("type") == "custom":
                call.kind = "custom"
            text = body.get("arguments") if custom is None else body.get("input")
            self._add(call, call_id, name, text, out)

    def take_function_call(self, body: dict[str, Any], answer_id: str, out: list[Event]) -> None:
        """The old form: one call, without an id, so one is made."""
        call = self._calls[0] if self._calls else self._new()
        self._add(call, made_id(answer_id, self._choice, 0), body.get("name") or "", body.get("arguments"), out)

    def close(self, answer_id: str, out: list[Event]) -> None:
        """The choice ended: starts the calls whose id never came, with an id made from the answer's.

        Raises:
            UpstreamError: PROTOCOL, a call without a name.
        """
        for call in self._calls:
            if call.started:
                continue
            if not call.name:
                raise UpstreamError(Failure(FailureKind.PROTOCOL, "the provider sent a tool call without a name"))
            call.id = call.id or made_id(answer_id, self._choice, call.index)
            call.start(out)

    def _add(self, call: _Call, call_id: str, name: str, text: Any, out: list[Event]) -> None:
        if call_id and not call.id:
            call.id = call_id
            self._by_id[call_id] = call
        # Some servers repeat the name in every fragment; none is known to split it.
        call.name = call.name or name
        if text is not None and not isinstance(text, str):
            text = orjson.dumps(text).decode()
        if call.started:
            if text:
                out.append(ToolCallDelta(call.index, text, call.choice))
            return
        if text:
            call.hold(text)
        if call.id and call.name:
            call.start(out)

    def _find(self, index: int | None, call_id: str, name: str, position: int) -> _Call:
        if index is not None:
            known = self._by_index.get(index)
            # A second call under an index that is taken; an id alone may be a fresh one per fragment.
            if known is None or (call_id and name and known.id and known.id != call_id):
                known = self._by_index[index] = self._new()
            return known
        last = self._calls[-1] if self._calls else None
        if call_id:
            known = self._by_id.get(call_id)
            if known is None and last is not None and not last.id and not name:
                known = last
            return known or self._new()
        if last is None or (name and (position or last.name != name or last.complete)):
            return self._new()
        return last

    def _new(self) -> _Call:
        call = _Call(len(self._calls), self._choice)
        self._calls.append(call)
        return call


def made_id(answer_id: str, choice: int, index: int) -> str:
    """An id for a call that came without one: the same for the same answer, whole or streamed."""
    # OpenAI takes ids of at most 40 characters back, Anthropic letters, digits, - and _ only.
    digest = blake2s(f"{answer_id}/{choice}/{index}".encode(), digest_size=12).hexdigest()
    return f"call_{digest}"
