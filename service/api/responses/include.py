"""What a request's `include` may name. What each asks for is read where the request is."""

from __future__ import annotations

from typing import Final

ENCRYPTED: Final = "reasoning.encrypted_content"
"""What providers want back of their reasoning: kept in any case, shown when it is asked for."""

LOGPROBS: Final = "message.output_text.logprobs"
INPUT_IMAGES: Final = "message.input_image.image_url"

INCLUDES: Final = (
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    INPUT_IMAGES,
    LOGPROBS,
    ENCRYPTED,
    "web_search_call.action.sources",
    "web_search_call.results",
)
"""Every name."""
