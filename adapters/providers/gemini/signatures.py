"""Thought signatures in a conversation's history: which part each of them goes back to.

A signature belongs on exactly the part that it came with (ai.google.dev/gemini-api/docs/thought-signatures). Those
of calls are told by the call's id, those of text have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.domain.generation import Reasoning, ToolCall, Turn

FORMAT: Final = "google-gemini-v1"
"""Marks thought signatures of Gemini's; others' can't be replayed there, nor these elsewhere."""

UNSIGNED: Final = "skip_thought_signature_validator"
"""Google's word in the place of a signature, for calls that another model made (the same page, FAQ).

Gemini 3 refuses a running turn in which a step's first call has no signature.
"""

Part = dict[str, Any]


def signatures_of_calls(turns: Iterable[Turn]) -> Mapping[str, str]:
    """Signatures by the id of the call that they came with."""
    found: dict[str, str] = {}
    calls: set[str] = set()
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                calls.add(part.id)
            elif isinstance(part, Reasoning) and part.format == FORMAT and part.id and part.encrypted:
                found[part.id] = part.encrypted
    return {call: signature for call, signature in found.items() if call in calls}


class TextSignatures:
    """Puts a turn's signatures that belong to no call onto its texts, in order."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: str | None = None

    def hold(self, part: Reasoning, of_calls: Mapping[str, str], out: list[Part]) -> None:
        """A piece of reasoning; the signature in it, if it is Gemini's and no call's, waits for the next text."""
        if part.format != FORMAT or not part.encrypted or part.id in of_calls:
            return
        if self._held is not None:
            out.append({"text": "", "thoughtSignature": self._held})
        self._held = part.encrypted

    def sign(self, text: Part) -> Part:
        """A text, with the signature that waits for it."""
        if self._held is not None:
            text["thoughtSignature"] = self._held
            self._held = None
        return text

    def close(self, out: list[Part]) -> None:
        """The turn ends: a signature that came after its text, as in streams, or one that had none."""
        if self._held is None:
            return
        last = out[-1] if out else {}
        if "text" in last and "thoughtSignature" not in last:
            self.sign(last)
        else:
            out.append(self.sign({"text": ""}))


def mark_unsigned(contents: Sequence[dict[str, Any]]) -> None:
    """Marks the first call of each step of the running turn whose calls have no signature."""
    for content in reversed(contents):
        parts = content["parts"]
        if content["role"] == "user":
            if any("functionResponse" not in part for part in parts):
                return
            continue
        calls = [part for part in parts if "functionCall" in part]
        if calls and not any("thoughtSignature" in call for call in calls):
            calls[0]["thoughtSignature"] = UNSIGNED
