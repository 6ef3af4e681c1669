"""What Anthropic's own Python client makes of an answer's bytes. No socket: its transport is replaced."""

from __future__ import annotations

import anthropic
import httpx2
from anthropic.types import Message


def read_by_client(body: bytes) -> Message:
    """The message of a whole answer or of a stream, as the official client reads and gathers it."""
    streamed = not body.lstrip().startswith(b"{")
    kind = "text/event-stream" if streamed else "application/json"

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": kind}, content=body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as transport:
        client = anthropic.Anthropic(api_key="none", base_url="http://127.0.0.1", http_client=transport)
        asked = {"role": "user", "content": "Hello"}
        if not streamed:
            return client.messages.create(model="m", max_tokens=1, messages=[asked])  # type: ignore[list-item]
        with client.messages.stream(model="m", max_tokens=1, messages=[asked]) as stream:  # type: ignore[list-item]
            return stream.get_final_message()
