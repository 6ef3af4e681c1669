"""What LiteLLM would send: a program for the environment .venv-litellm, which has nothing of ours.

Reads a JSON array of [key, model, arguments] from standard input and writes {"version": ..., "requests": {key:
{"body": the request's body or null, "refused": the first line of a refusal or null}}}.
`litellm.utils.return_raw_request` ends before the call; keys are made up and nothing is fetched. Imports the
standard library and `litellm`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
from typing import Any

MADE_UP = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOG": "ERROR",
    "ANTHROPIC_API_KEY": "none",
    "GEMINI_API_KEY": "none",
    "MISTRAL_API_KEY": "none",
    "AZURE_API_KEY": "none",
    "AZURE_API_BASE": "http://127.0.0.1:1",
    "AZURE_API_VERSION": "2024-10-21",
    "AWS_BEARER_TOKEN_BEDROCK": "none",
    "AWS_REGION_NAME": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def sent(raw: dict[str, Any]) -> dict[str, Any]:
    """What became of one request."""
    if raw.get("error"):
        return {"body": None, "refused": str(raw["error"]).strip().splitlines()[0]}
    return {"body": raw["raw_request_body"], "refused": None}


def main() -> None:
    """Standard input to standard output; what LiteLLM prints goes to standard error."""
    os.environ.update(MADE_UP)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    utils = importlib.import_module("litellm.utils")
    vars(importlib.import_module("litellm"))["suppress_debug_info"] = True
    completion = importlib.import_module("litellm.types.utils").CallTypes.completion

    with answer:
        told = {
            key: sent(utils.return_raw_request(completion, {"model": model, **arguments}))
            for key, model, arguments in json.load(sys.stdin)
        }
        json.dump({"version": importlib.metadata.version("litellm"), "requests": told}, answer, default=str)


if __name__ == "__main__":
    main()
