"""The catalogue while it is in use: edits, swapped links, bad edits, and models that real servers list."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PosixPath

import aiohttp
import pytest
from aiohttp import web

from adapters.catalog import FileCatalog
from adapters.catalog.discover import Get
from adapters.providers.listing import Listing
from adapters.providers.secrets import Secrets
from adapters.providers.simulator import Simulator
from service.bootstrap import Service, Start
from service.domain.catalog import Provider, ProviderStatus, Rule
from service.domain.events import Usage
from service.domain.failure import FailureKind
from service.domain.fields import Field
from service.settings import Settings

DIALECTS = {"openai_chat": lambda _quirks: frozenset(Field)}
PROVIDER = '  - {slug: own, dialect: openai_chat, base_url: "http://127.0.0.1:1/v1"}\n'


def catalogue(*models: str) -> str:
    listed = "".join(f"  - {{id: {name}, endpoints: [{{provider: own}}]}}\n" for name in models)
    return f"providers:\n{PROVIDER}models:\n{listed}"


def discovering(slug: str, url: str, *, discover: str = "true") -> str:
    return f'  - {{slug: {slug}, dialect: openai_chat, base_url: "{url}/v1", discover: {discover}}}\n'


class Reports:
    """What the catalogue said of itself, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, object]]] = []

    def __call__(self, event: str, values: Mapping[str, object]) -> None:
        self.events.append((event, values))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@pytest.fixture
def reports() -> Iterator[Reports]:
    yield Reports()


def opened(path: Path, reports: Reports, is_configured: Callable[[str], bool] = lambda _: True) -> FileCatalog:
    return FileCatalog(path, DIALECTS, is_configured, report=reports)


@asynccontextmanager
async def running(source: FileCatalog, get: Get | None = None) -> AsyncIterator[None]:
    task = asyncio.ensure_future(source.run(get, every=0.02, discover_every=0.05))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_edit_is_in_force_soon_and_who_holds_the_old_catalogue_keeps_it(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue("v/one"))
    source = opened(path, reports)
    held = source.current()
    async with running(source):
        path.write_text(catalogue("v/one", "v/two"))
        await until(lambda: source.current() is not held)
    assert set(source.current().models) == {"v/one", "v/two"}
    assert set(held.models) == {"v/one"}
    assert source.current().version == held.version + 1
    assert reports.names == ["catalog_reloaded"]


async def test_a_configmaps_link_swap_is_noticed(tmp_path: Path, reports: Reports) -> None:
    for name, models in (("..one", ("v/one",)), ("..two", ("v/two",))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "catalogue.yaml").write_text(catalogue(*models))
    # The mounted file itself never changes: kubelet renames a new link over ..data.
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "catalogue.yaml").symlink_to("..data/catalogue.yaml")
    same = time.time()
    for name in ("..one", "..two"):
        os.utime(tmp_path / name / "catalogue.yaml", (same, same))
    source = opened(tmp_path / "catalogue.yaml", reports)
    async with running(source):
        (tmp_path / "..data_tmp").symlink_to("..two")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await until(lambda: "v/two" in source.current().models)
    assert reports.names == ["catalog_reloaded"]


async def test_a_bad_edit_keeps_the_old_catalogue_says_why_and_a_good_one_mends_it(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue("v/one"))
    judged: list[Sequence[str]] = []
    source = FileCatalog(path, DIALECTS, lambda _: True, report=reports, judged=judged.append)
    before = source.current()
    async with running(source):
        path.write_text(catalogue("v/one").replace("provider: own", "provider: onw"))
        await until(lambda: bool(judged))
        assert source.current() is before
        assert "models[0].endpoints[0].provider: no provider has the slug 'onw'" in judged[0][0]
        path.write_text(catalogue("v/three"))
        await until(lambda: source.current() is not before)
        path.unlink()
        await until(lambda: len(judged) == 3)
        path.write_text(catalogue("v/three"))
        await until(lambda: len(judged) > 3 and not judged[-1])
    assert list(judged[1]) == []
    assert list(judged[2]) == [f"there is no file {path} any more"]
    assert set(reports.names) == {"catalog_reloaded"}


class CrashingPath(PosixPath):
    """A file whose reading fails as nobody expected."""

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        text = super().read_text(encoding, errors)
        if "v/odd" in text:
            raise KeyError(text)
        return text


def test_an_edit_whose_reading_crashes_is_kept_out_like_a_bad_one_and_its_words_are_not_told(
    tmp_path: Path,
) -> None:
    path = CrashingPath(tmp_path / "catalogue.yaml")
    path.write_text(catalogue("v/one"))
    judged: list[Sequence[str]] = []
    source = FileCatalog(path, DIALECTS, lambda _: True, judged=judged.append)
    path.write_text(catalogue("v/odd"))
    assert not any(source.poll() for _ in range(3))
    assert set(source.current().models) == {"v/one"}
    ((said,),) = judged
    assert said.startswith(
        f"{path}: reading it failed by a fault of eurouter: KeyError at test_catalog_reload.py:"
    )
    assert "v/odd" not in said
    path.write_text(catalogue("v/two"))
    assert any(source.poll() for _ in range(3))
    assert set(source.current().models) == {"v/two"}


async def test_a_file_that_is_written_slowly_is_never_read_half(tmp_path: Path, reports: Reports) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue("v/one"))
    source = opened(path, reports)
    text = catalogue(*(f"v/model-{n}" for n in range(40)))
    async with running(source):
        with path.open("w") as file:
            for start in range(0, len(text), 50):
                file.write(text[start : start + 50])
                file.flush()
                await asyncio.sleep(0.005)
        await until(lambda: len(source.current().models) == 40)
    assert reports.names == ["catalog_reloaded"]


async def test_a_key_that_appears_or_goes_changes_the_providers_status_without_an_edit(
    tmp_path: Path, reports: Reports
) -> None:
    secret = tmp_path / "key"
    path = tmp_path / "catalogue.yaml"
    provider = f'{{slug: own, dialect: openai_chat, base_url: "http://h/v1", auth: {{secret: "file:{secret}"}}}}'
    path.write_text(f"providers:\n  - {provider}\n")
    ticks = iter(range(1_000_000))
    secrets = Secrets({}, clock=lambda: float(next(ticks)) * 2)
    source = opened(path, reports, secrets.is_configured)

    def status() -> ProviderStatus:
        return source.current().providers["own"].status

    assert status() is ProviderStatus.NOT_CONFIGURED
    async with running(source):
        secret.write_text("a key\n")
        await until(lambda: status() is ProviderStatus.ACTIVE)
        secret.unlink()
        await until(lambda: status() is ProviderStatus.NOT_CONFIGURED)
    assert reports.names == ["catalog_provider_changed"] * 2


def test_rules_from_the_settings_are_exchanged_beside_the_file(tmp_path: Path, reports: Reports) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue("v/one"))
    source = opened(path, reports)
    rule = Rule("7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b", "r")
    source.use_rules((rule,))
    assert source.current().rules == (rule,)
    path.write_text(catalogue("v/two"))
    source.poll()
    assert source.poll()
    assert source.current().rules == (rule,)


def test_who_asked_is_told_of_the_catalogue_in_force_and_of_each_that_follows(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue("v/one"))
    source = opened(path, reports)
    told: list[int] = []
    source.tell(lambda catalog: told.append(catalog.version))
    source.use_rules((Rule("7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b", "r"),))
    path.write_text("providers: [")
    source.poll()
    path.write_text(catalogue("v/two"))
    source.poll()
    assert source.poll()
    assert told == [1, 2, 3]
    assert source.current().version == 3


async def test_models_of_a_real_server_are_found_and_kept_while_it_is_away(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "catalogue.yaml"
    async with Simulator() as simulator:
        path.write_text("providers:\n" + discovering("sim", simulator.url))
        source = opened(path, reports)
        assert not source.current().models
        assert not source.complete()
        async with running(source, Listing(Secrets({}), "test")):
            await until(lambda: bool(source.current().models))
            assert source.complete()
            found = source.current()
            assert found.names["sim-echo"] == "sim/sim-echo"
            (endpoint,) = found.models["sim/sim-echo"].endpoints
            assert (endpoint.upstream_model, endpoint.price.free) == ("sim-echo", True)
            await simulator.refuse_connections()
            await until(lambda: "catalog_discovery_failed" in reports.names)
            assert source.current() is found
            assert source.complete()


async def test_a_catalogue_is_complete_when_each_server_that_is_asked_has_answered_and_usable_ones_alone_are(
    tmp_path: Path, reports: Reports
) -> None:
    path, env = tmp_path / "catalogue.yaml", dict[str, str]()
    path.write_text(catalogue("v/one"))
    secrets = Secrets(env)
    assert opened(path, reports).complete()
    async with Simulator() as simulator:
        locked = discovering("locked", simulator.url).replace(
            "}\n", ", auth: {secret: env:K}, price: {prompt: 1, completion: 1}}\n"
        )
        rows = discovering("sim", simulator.url) + discovering("gone", "http://127.0.0.1:1") + locked
        path.write_text("providers:\n" + rows)
        source = opened(path, reports, secrets.is_configured)
        await source.discover(Listing(secrets, "test"))
        assert "sim/sim-echo" in source.current().models
        assert not source.complete()
        path.write_text("providers:\n" + discovering("sim", simulator.url) + locked)
        # A file is read when nobody writes to it any more.
        await until(source.poll)
        assert source.complete()
        env["K"] = "secret"
        source.poll()
        assert not source.complete()


async def test_names_that_mean_something_else_by_the_file_are_reported_at_discovery_and_after_an_edit(
    tmp_path: Path, reports: Reports
) -> None:
    async def listing(_provider: Provider, _path: str) -> object:
        return {"data": [{"id": "team/best"}, {"id": "v/new"}]}

    path = tmp_path / "catalogue.yaml"
    alias = "aliases:\n  - {name: team/best, models: [v/one]}\n"
    plain = "providers:\n" + discovering("gpu", "http://127.0.0.1:1")
    models = "models:\n  - {id: v/one, endpoints: [{provider: gpu}]}\n"
    path.write_text(plain + models + alias)
    source = opened(path, reports)
    await source.discover(listing)
    told = (
        "catalog_names_taken",
        {"provider": "gpu", "left_out": 1, "names": ["team/best (is team/best in the file)"]},
    )
    assert reports.events[-1] == told
    assert set(source.current().models) == {"v/one", "v/new"}
    reports.events.clear()
    path.write_text(plain + models)
    await until(source.poll)
    assert "team/best" in source.current().models
    assert "catalog_names_taken" not in reports.names
    path.write_text(plain + models + alias)
    await until(source.poll)
    assert reports.events[-1] == told
    assert "team/best" not in source.current().models


async def test_a_server_that_starts_later_is_found_long_before_the_next_round(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "catalogue.yaml"
    async with Simulator() as simulator:
        path.write_text("providers:\n" + discovering("sim", simulator.url))
        await simulator.refuse_connections()
        source = opened(path, reports)
        get = Listing(Secrets({}), "test")
        task = asyncio.ensure_future(source.run(get, every=0.01, discover_every=3600, discover_again=0.02))
        await until(lambda: reports.names.count("catalog_discovery_failed") > 1)
        await simulator.accept_connections()
        await until(lambda: "sim/sim-echo" in source.current().models)
        asked = len(reports.events)
        await asyncio.sleep(0.2)
        assert len(reports.events) == asked
        task.cancel()


async def test_a_server_whose_key_appears_is_asked_at_once(tmp_path: Path, reports: Reports) -> None:
    path, env = tmp_path / "catalogue.yaml", dict[str, str]()
    async with Simulator() as simulator:
        row = f'{{slug: sim, dialect: openai_chat, base_url: "{simulator.url}/v1", discover: true, '
        path.write_text(f"providers:\n  - {row}auth: {{secret: env:K}}, price: {{prompt: 1, completion: 1}}}}\n")
        secrets = Secrets(env)
        source = opened(path, reports, secrets.is_configured)
        task = asyncio.ensure_future(source.run(Listing(secrets, "test"), every=0.01, discover_every=3600))
        await asyncio.sleep(0.1)
        assert not source.current().models
        env["K"] = "secret"
        await until(lambda: "sim/sim-echo" in source.current().models)
        task.cancel()


async def test_one_server_that_answers_nonsense_does_not_hide_the_others(tmp_path: Path, reports: Reports) -> None:
    async def nonsense(_request: web.Request) -> web.Response:
        return web.json_response({"models": "none of your business"})

    app = web.Application()
    app.router.add_get("/v1/models", nonsense)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        path = tmp_path / "catalogue.yaml"
        async with Simulator() as simulator:
            rows = discovering("bad", f"http://127.0.0.1:{port}") + discovering("sim", simulator.url)
            path.write_text("providers:\n" + rows)
            source = opened(path, reports)
            await source.discover(Listing(Secrets({}), "test"))
        assert "sim/sim-echo" in source.current().models
        failed = next(values for name, values in reports.events if name == "catalog_discovery_failed")
        assert failed["provider"] == "bad"
        assert "/models" in str(failed["error"])
    finally:
        await runner.cleanup()


async def test_a_provider_that_stops_discovering_loses_its_found_models(tmp_path: Path, reports: Reports) -> None:
    path = tmp_path / "catalogue.yaml"
    async with Simulator() as simulator:
        path.write_text("providers:\n" + discovering("sim", simulator.url))
        source = opened(path, reports)
        await source.discover(Listing(Secrets({}), "test"))
    assert source.current().models
    path.write_text("providers:\n" + discovering("sim", simulator.url, discover="false"))
    source.poll()
    assert source.poll()
    assert not source.current().models


async def test_a_stream_under_way_outlives_a_reload_that_takes_its_model_away(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    async with Simulator() as simulator, aiohttp.ClientSession() as client:
        text = (
            "providers:\n"
            f"{discovering('sim', simulator.url, discover='false')}"
            "models:\n  - {id: v/slow, endpoints: [{provider: sim, model: sim-paced-20ms-100}]}\n"
        )
        path.write_text(text)
        async with serving(path) as service:
            url = f"http://127.0.0.1:{service.process.ports.http}/v1/chat/completions"
            body = {"model": "v/slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
            async with client.post(url, json=body) as answer:
                assert answer.status == 200
                await answer.content.readline()
                path.write_text(text.replace("v/slow", "v/other"))
                await until(lambda: "v/other" in service.catalog.current().models)
                assert not answer.content.at_eof(), "the reload must fall into the stream"
                rest = (await answer.content.read()).decode()
            assert rest.endswith("data: [DONE]\n\n")
            assert '"error"' not in rest
            async with client.post(url, json=body) as answer:
                assert answer.status == 404


async def test_of_models_that_left_a_running_service_shows_no_figures_any_more(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(catalogue("v/one"))
    async with serving(path) as service:
        (one,) = service.catalog.current().models["v/one"].endpoints
        service.telemetry.used(one, Usage(1, 2, 3))
        service.process_telemetry.cooling({one.id: FailureKind.CONNECT})
        shown = service.telemetry.render().decode()
        assert 'eurouter_tokens_total{direction="input",model="v/one"' in shown
        assert f'eurouter_endpoint_cooling{{endpoint="{one.id}"' in shown
        for name in ("v/two", "v/three"):
            path.write_text(catalogue(name))
            await until(lambda name=name: name in service.catalog.current().models)  # type: ignore[misc]
        assert "v/one" not in service.telemetry.render().decode()


@asynccontextmanager
async def serving(catalogue_path: Path) -> AsyncIterator[Service]:
    env = {"EUROUTER_GRPC__PORT": "0", "EUROUTER_HTTP__PORT": "0", "EUROUTER_ADMIN__PORT": "0"}
    service = Service(Settings.load(None, env), Start(env=env, catalog=catalogue_path, drain_pause=False))
    await service.process.start()
    try:
        yield service
    finally:
        await service.process.stop()
