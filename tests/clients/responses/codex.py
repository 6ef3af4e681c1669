"""Codex CLI, with the tools that it declares by itself, over providers that know nothing but functions.

The scripted model thinks, runs a shell command, writes a file with Codex's free-form patch tool, and ends the
turn. Codex runs both for real, in a scratch folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from adapters.providers.simulator import Call, Script, ToolCall
from tests.clients.responses.talk import functions_only, out_of_order
from tests.support.pages import blocks, section
from tests.support.parts import ROOT

KNOWN: Final = "openai/gpt-5.5"
"""A name that Codex has facts about: with them it declares its patch tool, as a custom one, and sets a verbosity,
which an Anthropic-shaped endpoint can't express. So it is served by the chat-shaped one alone.
"""

UNKNOWN: Final = ("sim/alpha", "sim/beta")
"""Names that it has none about: its defaults ask for a reasoning summary."""

_PATCH: Final = "*** Begin Patch\n*** Add File: patched.txt\n+written by the patch\n*** End Patch\n"
_SHELL: Final = json.dumps({"cmd": "echo written by the shell > shell.txt && cat shell.txt"})
_PATCHES: Final = Script(tool_calls=(ToolCall("call_2", "apply_patch", json.dumps({"input": _PATCH})),))
_PAGE: Final = ROOT / "docs" / "clients" / "responses.md"
_QUIET: Final = """
# Once is enough: a second try would take the next script.
request_max_retries = 0
stream_max_retries = 0

[analytics]
enabled = false
"""


def scripts(model: str) -> tuple[Script, ...]:
    """What the provider answers, call by call."""
    runs = Script(reasoning="Look first.", tool_calls=(ToolCall("call_1", "exec_command", _SHELL),))
    return (runs, *([_PATCHES] if model == KNOWN else []), Script(text="All done."))


def catalog(alpha: str, beta: str) -> dict[str, Any]:
    """The two providers, and the known name at the chat-shaped one."""
    rows = functions_only(alpha, beta)
    endpoint = {"provider": "alpha", "model": "one", "price": {"prompt": 1, "completion": 1}}
    rows["models"].append({"id": KNOWN, "endpoints": [endpoint]})
    return rows


def write_settings(home: Path, url: str) -> None:
    """What Codex reads at its start: what the page says with another address, less what wants a network."""
    (settings,) = blocks(section(_PAGE, "Codex CLI"), "toml")
    home.mkdir(parents=True)
    shown = "http://127.0.0.1:8080/v1"
    assert settings.count(shown) == 1
    text = f"check_for_update_on_startup = false\n{settings.replace(shown, url)}{_QUIET}"
    (home / "config.toml").write_text(text, encoding="utf-8")


def command(binary: Path, folder: Path, model: str) -> tuple[str, ...]:
    """One turn without a person, without a sandbox of its own: the scratch folder is all that it is given."""
    flags = ("--skip-git-repo-check", "--ephemeral", "--json", "--dangerously-bypass-approvals-and-sandbox")
    return (str(binary), "exec", *flags, "--cd", str(folder), "--model", model, "Do it.")


def problems(model: str, folder: Path, printed: str, calls: Sequence[Call]) -> list[str]:
    """What is not as it must be: in the folder, in Codex's own account, and in what the provider was asked."""
    patched = model == KNOWN
    written = {
        "shell.txt": "written by the shell\n",
        **({"patched.txt": "written by the patch\n"} if patched else {}),
    }
    found = [
        f"{name} does not hold {text!r}"
        for name, text in written.items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    ]
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    messages = [e["item"]["text"] for e in events if e.get("item", {}).get("type") == "agent_message"]
    if messages != ["All done."]:
        found.append(f"its last words are {messages}")
    if "turn.completed" not in [event["type"] for event in events]:
        found.append("the turn is not completed")
    if len(calls) != len(scripts(model)):
        return [*found, f"{len(calls)} calls upstream instead of {len(scripts(model))}"]
    return found + _asked(patched, calls)


def problems_of_a_cut(code: int, printed: str) -> list[str]:
    """What is not as it must be when the provider's stream was cut midway."""
    return [] if code != 0 and "turn.failed" in printed else [f"a cut stream ended with {code}: {printed[-500:]}"]


def _asked(patched: bool, calls: Sequence[Call]) -> list[str]:
    found = []
    texts = [
        "Do it.",
        "Look first.",
        "call_1",
        "written by the shell",
        *(["call_2", "patched.txt"] if patched else []),
    ]
    if lost := out_of_order(calls[-1].body["messages"], texts):
        found.append(f"the provider was not told {lost!r}, or not in its place")
    tools = json.dumps(calls[0].body["tools"])
    found += [
        f"the provider was given {kind}" for kind in ("web_search", '"custom"', "tool_search") if kind in tools
    ]
    if patched != ("apply_patch" in tools):
        found.append("apply_patch is not among the tools" if patched else "apply_patch is among the tools")
    return found
