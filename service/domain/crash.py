"""What of an unexpected exception may be logged: its type and where it happened, never its message.

An exception's message often quotes the value that caused it, and that value may be a prompt.
"""

from __future__ import annotations

import traceback
from pathlib import PurePath


def describe(error: BaseException) -> dict[str, str]:
    """Log fields: `error_type`, and `error_at` with the innermost frames as file:line:function."""
    # No `extract_tb`: it reads the source files.
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)][-4:]
    places = " < ".join(f"{PurePath(c.co_filename).name}:{line}:{c.co_name}" for c, line in reversed(frames))
    return {"error_type": type(error).__name__, "error_at": places}


def sentence(error: BaseException) -> str:
    """The same in words: a fault of this program, not of whoever reads of it."""
    return "a fault of eurouter: {error_type} at {error_at}".format(**describe(error))
