"""The conversation of `talk.py` with pydantic-ai's OpenAIResponsesModel. Prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider


class Place(BaseModel):
    """What a structured answer holds."""

    city: str
    country: str


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fine in {city}"


async def text_of(agent: Any, prompt: str) -> str:
    """The text of a streamed run, from its deltas alone."""
    heard = ""
    async with agent.run_stream(prompt) as run:
        async for piece in run.stream_text(delta=True, debounce_by=None):
            heard += piece
    return heard


async def refused(attempt: Callable[[], Awaitable[object]]) -> str:
    """The name of what was raised; empty when nothing was."""
    try:
        await attempt()
    except Exception as error:  # noqa: BLE001 - what is raised is the outcome
        return type(error).__name__
    return ""


async def main() -> None:
    client = AsyncOpenAI(base_url=os.environ["EUROUTER_URL"], api_key="any", max_retries=0)
    # By the names of OpenAI's models it knows which of them reason; of others it has to be told.
    reasons = OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True)
    provider = OpenAIProvider(openai_client=client)
    model = OpenAIResponsesModel(os.environ["EUROUTER_MODEL"], provider=provider, profile=reasons)
    thinking: Any = {"openai_reasoning_effort": "low", "openai_reasoning_summary": "auto"}
    kept = OpenAIResponsesModelSettings(**thinking, openai_previous_response_id="auto")
    not_kept = OpenAIResponsesModelSettings(**thinking, openai_store=False)
    plain = Agent(model, instructions="Be brief.")
    stored = Agent(model, tools=[weather], model_settings=kept)
    private = Agent(model, tools=[weather], model_settings=not_kept)
    parsing = Agent(model, output_type=NativeOutput(Place))

    said: dict[str, Any] = {}
    first = await plain.run("Say hello.")
    said["plain"] = first.output
    said["streamed"] = await text_of(plain, "Count.")
    said["tools"] = (await stored.run("The weather?")).output
    said["tools_streamed"] = await text_of(private, "The weather?")
    said["parsed"] = (await parsing.run("Where?")).output.model_dump()
    chained = OpenAIResponsesModelSettings(openai_previous_response_id="auto")
    again = await plain.run("And now?", message_history=first.all_messages(), model_settings=chained)
    said["continued"] = again.output
    said["cut"] = await refused(lambda: text_of(plain, "Count."))
    packages = ("pydantic-ai-slim", "openai")
    print(json.dumps({"versions": {name: version(name) for name in packages}, "said": said}))


asyncio.run(main())
