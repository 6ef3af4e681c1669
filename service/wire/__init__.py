"""JSON <-> protobuf, for HTTP and for records in JSON.

One reader and one writer are compiled per message from its descriptor; what the descriptor can't say stands
in `rules`. Nothing here knows what a request means: ranges, required fields and contradictions are the
API's to check, on the message, whatever door it came through.
"""

from service.wire.errors import MAX_VIOLATIONS, WireError
from service.wire.event_types import event_type
from service.wire.reader import parse, parse_bytes
from service.wire.writer import render, render_bytes

__all__ = ["MAX_VIOLATIONS", "WireError", "event_type", "parse", "parse_bytes", "render", "render_bytes"]
