"""The example clients of docs/clients: built by their pages' commands without a network, run against servers.

`served` is the service itself with the simulator as its provider. The tests that take `fake` need what only a fake
can do: break a promise, or tell what came.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from eurouter.v1.chat_pb2 import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    CreateChatCompletionRequest,
    Delta,
)
from eurouter.v1.chat_pb2_grpc import ChatServiceServicer, add_ChatServiceServicer_to_server
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from tests.clients.build import Client, build
from tests.clients.prepare import LANGUAGES, Language
from tests.support.client_service import MODEL, PROVIDER, RunningService, running_service
from tests.support.name_server import name_server
from tests.support.parts import require

pytestmark = pytest.mark.timeout(300)

KEY = "eur_0123456789abABCDEFGHIJKLMNOPQRSTUVWX"
FIVE_MEBIBYTES = 5 * 1024 * 1024
RUN_SECONDS = 60
SLUGS = [language.slug for language in LANGUAGES]

Context = grpc.aio.ServicerContext[CreateChatCompletionRequest, ChatCompletion]
StreamContext = grpc.aio.ServicerContext[CreateChatCompletionRequest, ChatCompletionChunk]


@dataclass(slots=True)
class FakeChat(ChatServiceServicer):
    """Answers as the API page says; the model's name chooses the behaviour. Keeps what the calls brought."""

    keys: list[str] = field(default_factory=list)
    seconds_left: list[float | None] = field(default_factory=list)

    async def CreateChatCompletion(  # noqa: N802 - the method's name in the proto
        self, request: CreateChatCompletionRequest, context: Context
    ) -> ChatCompletion:
        await self._admit(request, context)
        if request.model == "test/slow":
            await asyncio.sleep(0.2)
        text = "x" * FIVE_MEBIBYTES if request.model == "test/large" else "Hello!"
        return ChatCompletion(choices=[Choice(message=AssistantMessage(content=text))])

    async def StreamChatCompletion(  # noqa: N802 - the method's name in the proto
        self, request: CreateChatCompletionRequest, context: StreamContext
    ) -> AsyncIterator[ChatCompletionChunk]:
        await self._admit(request, context)
        for text in ("Hel", "lo", "!"):
            yield ChatCompletionChunk(choices=[ChunkChoice(delta=Delta(content=text))])
            if request.model == "test/cut":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the provider's stream was cut")

    async def _admit(self, request: CreateChatCompletionRequest, context: Context | StreamContext) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self.keys.append(str(metadata.get("authorization")))
        self.seconds_left.append(context.time_remaining())
        if request.temperature > 2:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "temperature must be at most 2",
                (("grpc-status-details-bin", bad_temperature()), ("grpc-retry-pushback-ms", "-1")),
            )
        context.set_trailing_metadata((("x-provider-slug", "fake"),))


def bad_temperature() -> bytes:
    """The details of a call with a temperature that is out of range."""
    status = Status(code=3, message="temperature must be at most 2")
    violation = BadRequest.FieldViolation(field="temperature", description="must be at most 2")
    for detail in (
        ErrorInfo(reason="INVALID_REQUEST", domain="eurouter.dev", metadata={"request_id": "1"}),
        BadRequest(field_violations=[violation]),
    ):
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return bytes(status.SerializeToString())


@asynccontextmanager
async def serving(chat: FakeChat, address: str = "127.0.0.1:0") -> AsyncIterator[int]:
    """Listen on an address of loopback; yields the port."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 32 * 1024 * 1024)])
    add_ChatServiceServicer_to_server(chat, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
def fake() -> FakeChat:
    return FakeChat()


@pytest.fixture
async def fake_port(fake: FakeChat) -> AsyncIterator[int]:
    async with serving(fake) as port:
        yield port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("served")) as service:
        yield service


@pytest.fixture(scope="session")
def builds() -> dict[str, Client]:
    """The clients that were built already, by language."""
    return {}


def _param(language: Language) -> object:
    # To compile these two takes longer than all that is asked of them.
    slow = (pytest.mark.slow,) if language.slug in ("java", "typescript") else ()
    return pytest.param(language, id=language.slug, marks=slow)


@pytest.fixture(params=[_param(language) for language in LANGUAGES])
def client(
    request: pytest.FixtureRequest, builds: dict[str, Client], tmp_path_factory: pytest.TempPathFactory
) -> Client:
    language: Language = request.param
    if language.slug not in builds:
        builds[language.slug] = build(language, tmp_path_factory.mktemp("clients") / language.slug)
    return builds[language.slug]


async def run(
    client: Client, target: str, model: str, key: str = KEY, variables: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run a client to its end; returns its exit code and the lines that it printed."""
    told = {"EUROUTER_TARGET": target, "EUROUTER_KEY": key, "EUROUTER_MODEL": model, **(variables or {})}
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", f"exec {client.command}", cwd=client.folder, env={**client.variables, **told},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(RUN_SECONDS):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    if process.returncode != 0:
        print(complaints.decode())
    return process.returncode, printed.decode().splitlines()


async def test_a_client_shows_an_answer_a_stream_and_what_an_error_says(
    client: Client, served: RunningService
) -> None:
    code, lines = await run(client, served.target, MODEL, served.key)
    assert lines == [
        "answer: Say hello.",
        f"provider: {PROVIDER}",
        "streamed: Say hello.",
        f"code: {'InvalidArgument' if client.language == 'go' else 'INVALID_ARGUMENT'}",
        "reason: INVALID_REQUEST",
        "field: temperature",
    ]
    assert code == 0


async def test_a_client_with_a_wrong_key_ends_with_an_error(client: Client, served: RunningService) -> None:
    code, lines = await run(client, served.target, MODEL, KEY)
    assert (code != 0, lines) == (True, [])


async def test_every_call_of_a_client_brings_its_key_and_a_deadline_and_is_made_once(
    client: Client, fake: FakeChat, fake_port: int
) -> None:
    assert (await run(client, f"127.0.0.1:{fake_port}", "test/plain"))[0] == 0
    assert fake.keys == [f"Bearer {KEY}"] * 3
    assert all(left is not None and 55 < left < 61 for left in fake.seconds_left), fake.seconds_left


async def test_a_client_takes_an_answer_above_the_libraries_default_limit(client: Client, fake_port: int) -> None:
    code, lines = await run(client, f"127.0.0.1:{fake_port}", "test/large")
    assert code == 0
    assert len(lines[0]) == len("answer: ") + FIVE_MEBIBYTES


async def test_a_client_takes_a_cut_stream_for_an_error(client: Client, fake_port: int) -> None:
    code, lines = await run(client, f"127.0.0.1:{fake_port}", "test/cut")
    assert code != 0
    assert not any(line.startswith("code: ") for line in lines)


async def test_a_client_spreads_its_calls_over_the_addresses_of_a_name(client: Client, tmp_path: Path) -> None:
    require("client-side balancing", sys.platform == "linux", "needs the second loopback address that Linux has")
    first, second = FakeChat(), FakeChat()
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 eurouter.test\n127.0.0.2 eurouter.test\n")
    variables = {
        "GRPC_NODE_USE_ALTERNATIVE_RESOLVER": "true",  # without it grpc-js ignores the name server in a target
        "JAVA_TOOL_OPTIONS": f"-Djdk.net.hosts.file={hosts}",  # Java can't be told a name server, only names
    }
    async with (
        serving(first) as port,
        serving(second, f"127.0.0.2:{port}"),
        name_server("127.0.0.1", "127.0.0.2") as names,
    ):
        authority = "" if client.language == "java" else names
        target = f"dns://{authority}/eurouter.test:{port}"
        code, _ = await run(client, target, "test/slow", variables=variables)
    assert code == 0
    assert sorted((len(first.keys), len(second.keys))) == [1, 2]


@pytest.mark.parametrize("language", LANGUAGES, ids=SLUGS)
def test_every_example_on_a_page_is_part_of_the_program_that_runs(language: Language) -> None:
    files = [path.read_text(encoding="utf-8") for path in source_files(language.folder)]
    examples = list(code_blocks(language.page))
    assert len(examples) >= 4
    for example in examples:
        assert any(example in text for text in files), f"nowhere in {language.folder}:\n{example}"


def source_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def code_blocks(page: Path) -> Iterator[str]:
    """The fenced blocks of a page but for its commands, which the fixture runs."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        if found[1] != "sh":
            yield found[2]
