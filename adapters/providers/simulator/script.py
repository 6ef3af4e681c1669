"""What the simulator answers, as plain data: a script, its faults, and the errors that have a name.

No wire format and no I/O here: a wire format reads a script and writes its own bytes, the server plays them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from typing import Literal, TypeAlias

DEFAULT_TEXT = "This is the simulator, not a model: the answer is scripted."
_GENERATED = ("Sim", "ulated", " words", " only", ",", " no", " model", " speaks", ".", " ")
_PIECE = re.compile(r"\s*\S+|\s+\Z")
_ARGUMENT_CHARACTERS = 4


class Reason(StrEnum):
    """Why a provider refuses, in words that every wire format can spell in its own way."""

    CONTEXT_LENGTH = "context_length"
    INVALID_REQUEST = "invalid_request"
    INVALID_KEY = "invalid_key"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer ends after so many tokens without its terminal marker.

    A stream ends as clean HTTP (nothing but the missing marker tells); a whole answer loses its second
    half and the connection closes short of the announced content-length.
    """

    after_tokens: int = 3


@dataclass(frozen=True, slots=True)
class Stall:
    """Sends so many tokens (of a whole answer: its first half), then nothing, and keeps the connection."""

    after_tokens: int = 3


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are not the protocol, after so many tokens (0: from the first byte), then the end."""

    after_tokens: int = 0
    data: bytes = b"\x00\xfe\xff<html>\xc3\x28 this is not the protocol\n\ndata: {not json\n\n"


@dataclass(frozen=True, slots=True)
class ErrorIn200:
    """An error behind HTTP 200: a JSON body, or an event inside the stream after so many tokens.

    `after_tokens` None: a JSON error body, streaming or not. A whole answer always gets the body.
    """

    after_tokens: int | None = None
    reason: Reason = Reason.OVERLOADED
    message: str | None = None


@dataclass(frozen=True, slots=True)
class SlowFirstByte:
    """Waits (seconds) before the answer; `headers_first` sends the status line at once and then waits."""

    seconds: float = 30.0
    headers_first: bool = False


@dataclass(frozen=True, slots=True)
class HttpError:
    """A failing status. Without `body` the wire format spells it, from reason and status, as its provider."""

    status: int
    reason: Reason = Reason.SERVER_ERROR
    message: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"fault.status: {self.status} is not an error status (400 to 599)")


@dataclass(frozen=True, slots=True)
class Reset:
    """Aborts the TCP connection (RST) after so many tokens; None: before a single byte of the answer."""

    after_tokens: int | None = 3


Fault: TypeAlias = Cut | Stall | Garbage | ErrorIn200 | SlowFirstByte | HttpError | Reset


def rate_limited(retry_after: float | str | None = 1) -> HttpError:
    """429 with `Retry-After` (seconds, an HTTP date, or None to leave the header out)."""
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return HttpError(429, Reason.RATE_LIMITED, headers=headers)


def insufficient_quota(status: int = 429) -> HttpError:
    """Spent credit: OpenAI says it with 429, others with 402."""
    return HttpError(status, Reason.QUOTA)


OVERLOADED = HttpError(529, Reason.OVERLOADED)
UNAVAILABLE = HttpError(503, Reason.OVERLOADED)
SERVER_ERROR = HttpError(500, Reason.SERVER_ERROR)
INVALID_KEY = HttpError(401, Reason.INVALID_KEY)
PAYMENT_REQUIRED = HttpError(402, Reason.QUOTA)
CONTEXT_LENGTH = HttpError(400, Reason.CONTEXT_LENGTH)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call; `arguments` is the JSON text as the model would write it (it need not be valid)."""

    id: str
    name: str
    arguments: str = "{}"

    def pieces(self) -> tuple[str, ...]:
        """The arguments as a stream would carry them."""
        size = _ARGUMENT_CHARACTERS
        return tuple(self.arguments[at : at + size] for at in range(0, len(self.arguments), size))


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as OpenAI counts them: prompt tokens include the cached ones, completion the reasoning."""

    prompt_tokens: int = 10
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """One scripted answer. It is given as it stands: `max_tokens` and `stop` of a request do not shorten it.

    Content is one of `text` (a string, or the tokens to stream it in), `tokens` (that many invented ones), `echo`
    (the last user message, with the call's own in the place of each `{x-request-id}`) or `obey` (what the request
    asks for, see `obedient`: limits and stops too); with none of them and no tool call or refusal, a sentence
    that says that this is a simulator. `finish_reason` is in OpenAI's words (stop, length, tool_calls,
    content_filter, any other passes as it is); None follows from the content. `usage` None counts what is sent.
    `logprobs`: the values given, in turn, when a request asks for them; () behaves like a server that ignores the
    wish. `choices` None obeys the request's `n`.

    Seconds: `first_byte_delay` before the headers, `pace` between tokens (0: all in large writes), `latency`
    the whole time of a whole answer (None: the first byte's delay and the tokens' pace).

    The first `busy_calls` calls with the same last user message get 429 instead, with a `Retry-After` of
    `busy_seconds`.
    """

    text: str | tuple[str, ...] | None = None
    tokens: int | None = None
    echo: bool = False
    obey: bool = False
    reasoning: str | tuple[str, ...] = ""
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    logprobs: tuple[float, ...] = (-0.25,)
    choices: int | None = None
    first_byte_delay: float = 0.0
    pace: float = 0.0
    latency: float | None = None
    fault: Fault | None = None
    busy_calls: int = 0
    busy_seconds: float = 1.0

    def __post_init__(self) -> None:
        if (self.text is not None) + (self.tokens is not None) + self.echo + self.obey > 1:
            raise ValueError("text, tokens, echo, obey: give one of them")
        for name in ("tokens", "first_byte_delay", "pace", "latency", "busy_calls", "busy_seconds"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name}: {value} is below 0")
        if self.choices is not None and self.choices < 1:
            raise ValueError(f"choices: {self.choices} is below 1")
        after = getattr(self.fault, "after_tokens", None)
        if after is not None and after < 0:
            raise ValueError(f"fault.after_tokens: {after} is below 0")

    def text_tokens(self) -> tuple[str, ...]:
        """The text as it is streamed; joined, it is the text."""
        if self.text is not None:
            return pieces(self.text)
        if self.tokens is not None:
            return tuple(islice(cycle(_GENERATED), self.tokens))
        if self.tool_calls or self.refusal or self.echo:
            return ()
        return pieces(DEFAULT_TEXT)

    def token_count(self) -> int:
        """How many pieces a stream of this script carries, of whatever kind, per choice."""
        calls = sum(max(1, len(call.pieces())) for call in self.tool_calls)
        return len(self.text_tokens()) + len(pieces(self.reasoning)) + len(pieces(self.refusal)) + calls

    def counted_usage(self, choices: int = 1) -> Usage:
        """The scripted usage, or the count of what is sent."""
        if self.usage is not None:
            return self.usage
        reasoning = len(pieces(self.reasoning)) * choices
        return Usage(completion_tokens=self.token_count() * choices, reasoning_tokens=reasoning)

    def finish(self) -> str:
        """The finish reason in OpenAI's words."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def whole_latency(self) -> float:
        """Seconds that a whole (not streamed) answer takes."""
        if self.latency is not None:
            return max(self.latency, self.first_byte_delay)
        return self.first_byte_delay + self.pace * self.token_count()


def pieces(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Cuts text before each run of blanks, roughly as a tokenizer would; nothing is lost."""
    return tuple(_PIECE.findall(text)) if isinstance(text, str) else text
