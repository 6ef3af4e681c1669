"""Streams of binary frames in a readable form, and frames that are wrong in one way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.providers.simulator.frames import event, exception, frame

__all__ = ["encode", "error", "event", "exception", "frame"]


def encode(messages: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Frames from their readable form: {"event": KIND, "payload": {...}}, or "exception" in place of "event"."""
    return [
        (event if "event" in message else exception)(
            message.get("event") or message["exception"],
            json.dumps(message["payload"], ensure_ascii=False, separators=(",", ":")).encode(),
        )
        for message in messages
    ]


def error(code: str, message: str) -> bytes:
    """An error that the service's model does not describe: code and message stand in the headers."""
    return frame({":error-code": code, ":error-message": message, ":message-type": "error"}, b"")
