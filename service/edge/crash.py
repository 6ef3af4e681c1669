"""What of an unexpected exception may be logged: its type and where it happened, never its message.

An exception's message often quotes the value that caused it, and that value may be a prompt.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def describe(error: BaseException) -> dict[str, str]:
    """Log fields: `error_type`, and `error_at` with the innermost frames as file:line:function."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}:{f.name}" for f in reversed(frames))
    return {"error_type": type(error).__name__, "error_at": places}
