"""The seam between the simulator and a wire format: what one reads from a request and writes for a script.

A new wire format is one more file with an object of this shape, added to the server's list. No I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .script import Reason, Script

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """What a request says about its answer's bytes. Hashable: with the script it keys the encoded answer."""

    model: str
    stream: bool = False
    include_usage: bool = False
    obfuscation: bool = False
    choices: int = 1
    logprobs: int | None = None  # alternatives a token; None: not asked for
    encrypted_reasoning: bool = False
    echoed: str = ""  # what the answer repeats of the request, as JSON text


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the simulator needs it."""

    form: Form
    last_user: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A streamed answer as bytes: `head`, one entry a token, `tail` with the terminal marker.

    Every piece may hold `mark`, which stands for the answer's id (and time): it is replaced at every call by
    something of the same length, so that an answer is encoded once and still never repeats an id.
    """

    mark: bytes
    head: bytes
    tokens: tuple[bytes, ...]
    tail: bytes


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is not streamed; `mark` as in Encoded."""

    mark: bytes
    body: bytes


class WireFormat(Protocol):
    """One provider's way of writing. Implementations are stateless and hashable."""

    def __hash__(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths for POST, as aiohttp.web patterns; variables reach `read`."""
        ...

    @property
    def stream_content_type(self) -> str: ...

    @property
    def request_id_header(self) -> str: ...

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:
        """Raises ValueError naming the field when the request can't be answered."""
        ...

    def stream(self, script: Script, form: Form) -> Encoded: ...

    def whole(self, script: Script, form: Form) -> Whole: ...

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:
        """What replaces the mark. `answer_id`: 32 characters; `now`: Unix seconds."""
        ...

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        """The body of a failure."""
        ...

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        """A failure inside a stream that began well."""
        ...


def text_of(content: object) -> str:
    """A message's content as text: a string, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def model_and_messages(body: JsonObject) -> tuple[str, str]:
    """The model and the last user message of a body that has both; ValueError names the field."""
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise ValueError("model: must be a string")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: must be a list with at least one message")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return model, text_of(message.get("content"))
    return model, ""
