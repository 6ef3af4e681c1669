"""What a dialect is: four pure functions between the neutral domain and one provider API's bytes.

A dialect does no I/O, keeps no state between calls and never retries. HTTP, SSE framing, the frame of a decoder
(decoder.py), auth, timeouts and the status table live beside it, once for all dialects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.catalog import Endpoint, Quirks
from service.domain.events import Event
from service.domain.failure import Failure
from service.domain.fields import Field
from service.domain.generation import Generation


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One HTTP POST: the path below the provider's base URL (starts with /), headers in lower case, the body.

    A row's own path and headers (its quirks) replace these where the call is sent.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Decoder(Protocol):
    """Turns a stream's bytes into events. One per stream; push only, no awaits."""

    def feed(self, data: bytes) -> list[Event]:
        """Events that `data` completes. Any split of the stream gives the same events in total, but for
        neighbouring text deltas, which may come joined.

        Raises:
            UpstreamError: an error event of the provider (any FailureKind), or bytes that are not the protocol.
        """
        ...

    def end(self) -> list[Event]:
        """Events that were held until the end; called once, after the last byte.

        Raises:
            UpstreamError: CUT when the terminal marker did not come.
        """
        ...


class Build(Protocol):
    """How a dialect writes a call."""

    def __call__(self, generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
        """The call that asks `endpoint` for `generation`; the same arguments give the same bytes.

        The plan has already made sure that the endpoint can express every binding field.

        Raises:
            ServiceError: INVALID_REQUEST for a value that this wire format can't take, naming its place.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider API."""

    name: str
    """The name that catalogue rows use, such as openai_chat."""
    expressible: frozenset[Field]
    """Every field that this dialect can put on its wire, hints included, for a row without quirks."""
    expressible_with: Callable[[Quirks], frozenset[Field]]
    """The same for a row with these quirks."""
    build: Build
    read: Callable[[bytes], Sequence[Event]]
    """The events of a whole answer (status 200).

    Raises UpstreamError: an error in a 200, or a body that is not the protocol.
    """
    decoder: Callable[[], Decoder]
    """A fresh decoder for one streamed answer."""
    classify: Callable[[int, Mapping[str, str], bytes], Failure]
    """What a status other than 2xx means, by its headers (names in lower case) and its body.

    Starts from the shared status table; reads the provider's body.
    """


def less_reasoning(expressible: frozenset[Field], *fields: Field) -> Callable[[Quirks], frozenset[Field]]:
    """An `expressible_with`: a row whose models don't reason lacks these fields, and no other quirk counts."""
    without = expressible.difference(fields)

    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        return without if quirks.reasoning_style == "none" else expressible

    return expressible_with
