"""The catalogues of examples/catalogue: whole files that the check accepts, for servers of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.catalog import DEFAULT_CATALOG, Discovered, build_catalog, read_catalog
from adapters.providers.registry import DIALECTS
from service import cli
from service.domain.catalog import Catalog, Endpoint
from service.domain.errors import ServiceError
from service.domain.fields import Field
from service.domain.generation import FunctionTool, Generation, JsonSchema, Role
from service.domain.plan import plan
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.routing import Needs, Plan, WantedModel
from tests.golden.requests import HELLO, everything, said
from tests.support import chats
from tests.support.catalogs import model
from tests.support.pages import blocks
from tests.support.parts import ROOT
from tests.support.upstreams import FixedHealth

EXAMPLES = sorted((ROOT / "examples" / "catalogue").glob("*.yaml"))
each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def built(path: Path) -> Catalog:
    """The catalogue, with one model more that the server told of."""
    document = read_catalog(path)
    found = {part.slug: (Discovered("some-model", 4096),) for part in document.providers if part.discover}
    dialects = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    return build_catalog(document, dialects, lambda _: False, discovered=found)


def endpoints(path: Path) -> list[Endpoint]:
    return [endpoint for row in built(path).models.values() for endpoint in row.endpoints]


def planned(endpoint: Endpoint, **fields: Any) -> Plan:
    wanted = (WantedModel(model(endpoint.model, endpoint), ""),)
    policy = Policy(Preferences(), Floor())
    needs: Needs = chats.read(chats.request(**fields)).needs
    return plan(needs, policy, wanted, FixedHealth(), 0.0, max_attempts=9, owner="local")


def body(endpoint: Endpoint, generation: Generation) -> dict[str, Any]:
    request = DIALECTS[endpoint.provider.dialect].build(generation, endpoint, stream=True)
    written: dict[str, Any] = json.loads(request.body)
    return written


def test_there_is_an_example_for_each_server() -> None:
    assert {path.stem for path in EXAMPLES} == {"vllm", "llama_cpp", "ollama", "tgi", "sglang"}


@each_example
def test_the_check_accepts_it_and_its_server_needs_no_key(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check"], {"EUROUTER_CATALOG__PATH": str(path)}) == 0
    printed = capsys.readouterr().out
    assert f"# Catalogue: {path}" in printed
    assert " active " in printed
    assert "Its key is missing" not in printed


@each_example
def test_it_names_where_its_quirks_were_read(path: Path) -> None:
    comment = path.read_text(encoding="utf-8").partition("\nproviders:")[0]
    assert "# Source: " in comment
    assert "github.com/" in comment
    assert "2026-" in comment


@each_example
def test_every_endpoint_is_free_and_called_without_a_key_on_this_machine(path: Path) -> None:
    assert endpoints(path)
    for endpoint in endpoints(path):
        assert endpoint.price.free
        assert endpoint.provider.ours
        assert endpoint.provider.auth.references == ()
        assert endpoint.provider.base_url.startswith("http://127.0.0.1:")
        assert endpoint.concurrency


@each_example
def test_what_it_refuses_is_something_that_its_dialect_could_say(path: Path) -> None:
    for provider in built(path).providers.values():
        assert provider.refuses <= DIALECTS[provider.dialect].expressible


@each_example
def test_nothing_that_a_server_ignores_is_sent_to_it(path: Path) -> None:
    unknown = {"verbosity", "store", "prediction", "web_search_options", "moderation", "modalities", "metadata"}
    for endpoint in endpoints(path):
        for generation in everything("openai_chat"):
            try:
                written = body(endpoint, generation)
            except ServiceError:
                continue  # a part that can't be left out: refused by name
            assert not unknown & written.keys()
            assert "developer" not in {message["role"] for message in written["messages"]}


@each_example
def test_a_tool_that_takes_a_text_is_offered_as_a_function(path: Path) -> None:
    for endpoint in endpoints(path):
        (attempt,) = planned(endpoint, tools=[{"type": "custom", "custom": {"name": "g"}}]).attempts
        assert attempt.ignored == ()


def test_the_limit_is_called_as_the_server_calls_it() -> None:
    names = {}
    for path in EXAMPLES:
        written = body(endpoints(path)[0], Generation((HELLO,), max_output_tokens=5))
        names[path.stem] = next(name for name in written if name.startswith("max_"))
    assert names == {
        "llama_cpp": "max_tokens",
        "ollama": "max_tokens",
        "sglang": "max_completion_tokens",
        "tgi": "max_tokens",
        "vllm": "max_completion_tokens",
    }


def test_ollama_is_passed_over_by_requests_that_choose_a_tool_and_by_several_choices() -> None:
    (row,) = [e for e in endpoints(ROOT / "examples/catalogue/ollama.yaml") if e.model == "openai/gpt-oss-20b"]
    tool = {"type": "function", "function": {"name": "f"}}
    (chosen,) = planned(row, tools=[tool], tool_choice="required").rejected
    (several,) = planned(row, n=2).rejected
    assert (chosen.paths, several.paths) == (("tool_choice",), ("n",))


def test_tgi_answers_in_the_form_of_a_schema_by_emulation() -> None:
    (row,) = endpoints(ROOT / "examples/catalogue/tgi.yaml")
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    asked = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    (attempt,) = planned(row, response_format=asked).attempts
    assert attempt.emulated
    plain = Generation((said(Role.USER, "Hi"),), (FunctionTool("f"),), output=JsonSchema("n", json.dumps(schema)))
    assert "response_format" not in body(row, plain)


def test_efforts_go_to_servers_that_take_them_in_their_own_words() -> None:
    vllm, tgi = (ROOT / f"examples/catalogue/{name}.yaml" for name in ("vllm", "tgi"))
    (thinker,) = [e for e in endpoints(vllm) if e.model == "openai/gpt-oss-20b"]
    assert body(thinker, Generation((HELLO,), reasoning_effort="low"))["reasoning_effort"] == "low"
    (rejection,) = planned(thinker, reasoning_effort="none").rejected
    assert rejection.message == "takes the efforts low, medium, high; reasoning_effort asks for none"
    (other,) = endpoints(tgi)
    assert Field.REASONING_EFFORT not in other.expressible


def test_the_example_on_the_page_of_providers_is_a_catalogue(tmp_path: Path) -> None:
    page = ROOT / "docs" / "providers.md"
    (text,) = [
        block for block in blocks(page.read_text(encoding="utf-8"), "yaml") if block.startswith("providers:")
    ]
    file = tmp_path / "catalogue.yaml"
    file.write_text(text, encoding="utf-8")
    (row,) = endpoints(file)
    assert row.facts.regions is not None
    assert row.facts.regions.value == ("eu",)
    assert body(row, Generation((HELLO,)))["model"] == "my-gpt-5-mini-in-the-eu"


def test_the_page_of_providers_says_how_to_switch_on_each_that_ships_and_names_its_variable() -> None:
    page = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    for provider in read_catalog(DEFAULT_CATALOG).providers:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{provider.slug}` | `")]
        assert provider.auth is not None
        assert provider.auth.secret is not None
        assert f"`{provider.auth.secret.removeprefix('env:')}`" in line
