"""Earlier reasoning as the items that its provider wants back."""

from __future__ import annotations

from typing import Any, Final

from service.domain.catalog import Endpoint
from service.domain.generation import Reasoning

from .verbatim import FORMAT

CONTENT: Final = "input.reasoning.content"
"""The name under which a provider's `passthrough` allows readable reasoning to go back to it.

Self-hosted servers of open models want it; OpenAI refuses an item with content (400, array_above_max_length).
"""


class ReasoningWriter:
    """Gathers the neighbouring pieces that were one item; `take` and `close` give the items that are complete."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._readable = CONTENT in endpoint.provider.passthrough
        self._pieces: list[Reasoning] = []
        self._made = 0

    @property
    def open(self) -> bool:
        """Whether `close` has something to give."""
        return bool(self._pieces)

    def take(self, piece: Reasoning) -> list[dict[str, Any]]:
        """The item that ends because `piece` belongs to the next one, if there is one to send."""
        done = self.close() if self._pieces and not self._continues(piece) else []
        self._pieces.append(piece)
        return done

    def close(self) -> list[dict[str, Any]]:
        """The last item, if there is one to send."""
        if not self._pieces:
            return []
        pieces, self._pieces = self._pieces, []
        # Encrypted content that another dialect made is unreadable there.
        encrypted = next((piece.encrypted for piece in pieces if piece.encrypted and piece.format == FORMAT), None)
        texts = [piece.text for piece in pieces if piece.text]
        if encrypted is not None:
            # No id: the service's own would not be the one that is sealed inside, and none is needed.
            return [{"type": "reasoning", "summary": _summary(pieces), "encrypted_content": encrypted}]
        if texts and self._readable:
            known = next((piece.id for piece in pieces if piece.id), None)
            content = [{"type": "reasoning_text", "text": text} for text in texts]
            self._made += 1
            item_id = known or f"rs_{self._made}"
            return [{"type": "reasoning", "id": item_id, "summary": _summary(pieces), "content": content}]
        return []

    def _continues(self, piece: Reasoning) -> bool:
        last = self._pieces[-1]
        if piece.id and last.id:
            return piece.id == last.id
        # Encrypted content comes last in an item.
        sealed = last.encrypted or last.signature
        return not sealed and (not piece.format or not last.format or piece.format == last.format)


def _summary(pieces: list[Reasoning]) -> list[dict[str, str]]:
    return [{"type": "summary_text", "text": piece.summary} for piece in pieces if piece.summary]
