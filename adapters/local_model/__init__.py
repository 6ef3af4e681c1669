"""A real language model as a child process: a small one, from wheels, for demos and tests without a key.

Here live the child's program, its chat template and its supervisor. How a request is sent to it does not:
to the router it is an OpenAI-compatible (and Anthropic-compatible) provider like any other.
"""

from adapters.local_model.supervisor import (
    MODEL,
    LocalModel,
    LocalModelError,
    LocalModelUnavailable,
    OnEvent,
)

__all__ = ["MODEL", "LocalModel", "LocalModelError", "LocalModelUnavailable", "OnEvent"]
