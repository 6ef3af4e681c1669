"""A provider for demos, tests and benchmarks that answers by script and says so: no model is behind it.

What a script may say: `script`. Scripts spelt as model names: `model_names`. Over HTTP from another process:
`PUT /simulator/script`, `GET` and `DELETE /simulator/calls`. Alone: `python -m adapters.providers.simulator`.
Every answer carries `x-simulator: true`. Nothing in the service's request path may import this package.
"""

from .journal import Call, redacted
from .script import (
    CONTEXT_LENGTH,
    DEFAULT_TEXT,
    INVALID_KEY,
    OVERLOADED,
    PAYMENT_REQUIRED,
    SERVER_ERROR,
    UNAVAILABLE,
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    HttpError,
    Reason,
    Reset,
    Script,
    SlowFirstByte,
    Stall,
    ToolCall,
    Usage,
    insufficient_quota,
    rate_limited,
)
from .server import LABEL, Simulator

__all__ = [
    "CONTEXT_LENGTH",
    "DEFAULT_TEXT",
    "INVALID_KEY",
    "LABEL",
    "OVERLOADED",
    "PAYMENT_REQUIRED",
    "SERVER_ERROR",
    "UNAVAILABLE",
    "Call",
    "Cut",
    "ErrorIn200",
    "Fault",
    "Garbage",
    "HttpError",
    "Reason",
    "Reset",
    "Script",
    "Simulator",
    "SlowFirstByte",
    "Stall",
    "ToolCall",
    "Usage",
    "insufficient_quota",
    "rate_limited",
    "redacted",
]
