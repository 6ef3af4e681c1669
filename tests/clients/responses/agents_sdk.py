"""The conversation of `talk.py` with openai-agents. Runs in an environment of its own; prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    Runner,
    WebSearchTool,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel


class Place(BaseModel):
    """What a structured answer holds."""

    city: str
    country: str


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fine in {city}"


async def text_of(run: Any) -> str:
    """The text of a streamed run, from its deltas alone."""
    heard = ""
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            heard += event.data.delta
    return heard


async def refused(attempt: Callable[[], Awaitable[object]]) -> str:
    """The name of what was raised; empty when nothing was."""
    try:
        await attempt()
    except Exception as error:  # noqa: BLE001 - what is raised is the outcome
        return type(error).__name__
    return ""


async def main() -> None:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=os.environ["EUROUTER_URL"], api_key="any", max_retries=0)
    model = OpenAIResponsesModel(model=os.environ["EUROUTER_MODEL"], openai_client=client)
    kept = ModelSettings(reasoning=Reasoning(effort="low", summary="auto"))
    not_kept = ModelSettings(
        reasoning=kept.reasoning, store=False, response_include=["reasoning.encrypted_content"]
    )
    tools: list[Any] = [function_tool(weather), WebSearchTool()]
    plain = Agent(name="plain", instructions="Be brief.", model=model)
    stored = Agent(name="stored", model=model, tools=tools, model_settings=kept)
    private = Agent(name="private", model=model, tools=tools, model_settings=not_kept)
    parsing = Agent(name="parsing", model=model, output_type=Place)

    said: dict[str, Any] = {}
    first = await Runner.run(plain, "Say hello.")
    said["plain"] = first.final_output
    said["streamed"] = await text_of(Runner.run_streamed(plain, "Count."))
    said["tools"] = (await Runner.run(stored, "The weather?", auto_previous_response_id=True)).final_output
    said["tools_streamed"] = await text_of(Runner.run_streamed(private, "The weather?"))
    said["parsed"] = (await Runner.run(parsing, "Where?")).final_output.model_dump()
    continued = await Runner.run(plain, "And now?", previous_response_id=first.last_response_id)
    said["continued"] = continued.final_output
    said["cut"] = await refused(lambda: text_of(Runner.run_streamed(plain, "Count.")))
    packages = ("openai-agents", "openai")
    print(json.dumps({"versions": {name: version(name) for name in packages}, "said": said}))


asyncio.run(main())
