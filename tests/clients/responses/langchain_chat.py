"""The conversation of `talk.py` with langchain-openai in Responses mode. Prints one JSON object."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Place(BaseModel):
    """What a structured answer holds."""

    city: str
    country: str


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fine in {city}"


def model(**options: Any) -> Any:
    return ChatOpenAI(
        model=os.environ["EUROUTER_MODEL"],
        base_url=os.environ["EUROUTER_URL"],
        api_key="any",
        max_retries=0,
        use_responses_api=True,
        output_version="responses/v1",
        **options,
    )


def streamed(chat: Any, messages: list[Any]) -> Any:
    """The pieces of a stream, added up as its users do."""
    whole = None
    for piece in chat.stream(messages):
        whole = piece if whole is None else whole + piece
    return whole


def loop(chat: Any, *, stream: bool) -> str:
    """Asks, runs the tools that were called, and asks again until there is an answer."""
    messages: list[Any] = [HumanMessage("The weather?")]
    while True:
        answer = streamed(chat, messages) if stream else chat.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            return str(answer.text)
        messages += [ToolMessage(weather(**call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]


def refused(chat: Any) -> str:
    """The name of what was raised; empty when nothing was."""
    try:
        streamed(chat, [HumanMessage("Count.")])
    except Exception as error:  # noqa: BLE001 - what is raised is the outcome
        return type(error).__name__
    return ""


def main() -> None:
    plain = model(use_previous_response_id=True)
    reasoning = {"effort": "low", "summary": "auto"}
    tools = [tool(weather), {"type": "web_search"}]
    said: dict[str, Any] = {}
    opening = [SystemMessage("Be brief."), HumanMessage("Say hello.")]
    first = plain.invoke(opening)
    said["plain"] = str(first.text)
    said["streamed"] = str(streamed(plain, [HumanMessage("Count.")]).text)
    kept = model(reasoning=reasoning, use_previous_response_id=True).bind_tools(tools)
    said["tools"] = loop(kept, stream=False)
    private = model(reasoning=reasoning, store=False, include=["reasoning.encrypted_content"]).bind_tools(tools)
    said["tools_streamed"] = loop(private, stream=True)
    parsing = model().with_structured_output(Place, method="json_schema", strict=True)
    said["parsed"] = parsing.invoke("Where?").model_dump()
    said["continued"] = str(plain.invoke([*opening, first, HumanMessage("And now?")]).text)
    said["cut"] = refused(plain)
    packages = ("langchain-openai", "langchain-core", "openai")
    print(json.dumps({"versions": {name: version(name) for name in packages}, "said": said}))


main()
