"""The schema that a request's answer must match, and whether answers can be held to it here."""

from __future__ import annotations

from service.domain.json_schema import MalformedSchemaError, UncheckedSchemaError, read


class AskedSchema:
    """The schema that an answer must match, as text; read once, and only where somebody asks. Immutable."""

    __slots__ = ("_obstacle", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._obstacle: tuple[str | None] | None = None

    @property
    def obstacle(self) -> str | None:
        """Why answers are not held to it here, half a sentence; None when they are, or when it is no schema."""
        if self._obstacle is None:
            try:
                read(self.text)
            except UncheckedSchemaError as problem:
                self._obstacle = (problem.why,)
            except MalformedSchemaError:
                self._obstacle = (None,)
            else:
                self._obstacle = (None,)
        return self._obstacle[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AskedSchema) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)
