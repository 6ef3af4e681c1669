"""Who gets in: keys, certificates, and edits of the settings while the service runs."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import trustme
from eurouter.v1 import catalog_pb2, chat_pb2_grpc, routing_pb2
from grpc import aio
from structlog.testing import capture_logs

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import Script
from service import bootstrap
from tests.support.parts import ROOT
from tests.support.running import (
    Child,
    InProcess,
    ask,
    ask_response,
    running_child,
    running_service,
    two_dialects,
    until,
)
from tests.support.statuses import info_of, reason_of

PEPPER = "a pepper for tests only, long enough"
GOOD, DISABLED, STRANGER = make_key(), make_key(), make_key()


def row(key: str, **fields: object) -> dict[str, object]:
    return {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": "team-a", **fields}


KEYS: dict[str, Any] = {"key_pepper": "env:KEY_PEPPER", "keys": [row(GOOD), row(DISABLED, disabled=True)]}
ENV = {"KEY_PEPPER": PEPPER}


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path, KEYS, env=ENV) as up:
        yield up


async def edited(up: InProcess, settings: dict[str, Any]) -> None:
    """Rewrites the settings, and returns once they are taken."""
    up.upstreams.write_settings(settings)
    before = up.service.watcher.current
    await until(lambda: up.service.watcher.poll() or up.service.watcher.current is not before, "the edit is taken")


async def code_of(call: Any) -> grpc.StatusCode:
    """How a unary call ends."""
    try:
        await call
    except aio.AioRpcError as error:
        code = error.code()
        assert isinstance(code, grpc.StatusCode)
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", f"Bearer {STRANGER}"),), (("x-api-key", "nonsense"),), (("x-api-key", DISABLED),)],
    ids=["none", "unknown", "malformed", "disabled"],
)
async def test_without_a_good_key_nobody_gets_in(keyed: InProcess, metadata: tuple[tuple[str, str], ...]) -> None:
    for call in (
        keyed.chat.CreateChatCompletion(ask(), metadata=metadata),
        keyed.chat.StreamChatCompletion(ask(), metadata=metadata).read(),
        keyed.routing.DryRunRouting(routing_pb2.DryRunRoutingRequest(model="sim/alpha"), metadata=metadata),
    ):
        with pytest.raises(aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(caught.value) == "INVALID_KEY"
        for key in (STRANGER, DISABLED):
            assert key not in repr(caught.value)
    assert not keyed.alpha.calls


@pytest.mark.parametrize("metadata", [(("authorization", f"Bearer {GOOD}"),), (("x-api-key", GOOD),)])
async def test_a_good_key_gets_in_by_either_header(
    keyed: InProcess, metadata: tuple[tuple[str, str], ...]
) -> None:
    assert await code_of(keyed.chat.CreateChatCompletion(ask(), metadata=metadata)) is grpc.StatusCode.OK
    assert GOOD not in str(keyed.alpha.calls[0]), "providers never see our keys"


async def test_the_catalogue_is_shown_without_a_key(keyed: InProcess) -> None:
    assert (await keyed.models.ListModels(catalog_pb2.ListModelsRequest())).models
    assert (await keyed.models.GetModel(catalog_pb2.GetModelRequest(id="sim/alpha"))).id == "sim/alpha"
    assert (await keyed.models.ListProviders(catalog_pb2.ListProvidersRequest())).providers
    bad = (("authorization", "Bearer nonsense"),)
    assert (
        await code_of(keyed.models.ListModels(catalog_pb2.ListModelsRequest(), metadata=bad)) is grpc.StatusCode.OK
    )


async def test_a_model_of_one_owner_is_called_by_its_bare_name_by_that_owner_and_does_not_exist_for_others(
    tmp_path: Path,
) -> None:
    def rows(alpha: str, beta: str) -> Any:
        both = two_dialects(alpha, beta)
        both["providers"][1]["owner"] = "team-a"
        both["models"][1]["id"] = "sim/secret"
        return both

    other = make_key()
    keys = {**KEYS, "keys": [row(GOOD), row(other, owner="team-b")]}
    async with running_service(tmp_path, keys, catalog=rows, env=ENV) as up:
        dry = routing_pb2.DryRunRoutingRequest(model="secret")

        def calls(key: str) -> list[Any]:
            metadata = (("x-api-key", key),)
            return [
                up.chat.CreateChatCompletion(ask("secret"), metadata=metadata),
                up.responses.CreateResponse(ask_response("secret"), metadata=metadata),
                up.routing.DryRunRouting(dry, metadata=metadata),
            ]

        for call in calls(GOOD):
            assert await code_of(call) is grpc.StatusCode.OK
        for call in calls(other):
            with pytest.raises(aio.AioRpcError) as caught:
                await call
            assert reason_of(caught.value) == "MODEL_NOT_FOUND"
            assert "sim/secret" not in repr(caught.value)
        shown = await up.models.ListModels(catalog_pb2.ListModelsRequest())
        assert [each.id for each in shown.models] == ["sim/alpha", "sim/both", "sim/reverse"]
        providers = await up.models.ListProviders(catalog_pb2.ListProvidersRequest())
        assert [each.slug for each in providers.providers] == ["alpha"]


def test_all_addresses_are_not_served_without_keys(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("grpc: {host: 0.0.0.0, port: 0}\nhttp: {port: 0}\nadmin: {port: 0}\n")
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--config", str(settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "grpc.host" in done.stderr
    assert "keys" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_key_added_or_disabled_by_an_edit_counts_without_a_restart(keyed: InProcess) -> None:
    def with_good() -> Any:
        return keyed.chat.CreateChatCompletion(ask(), metadata=(("x-api-key", GOOD),))

    def with_stranger() -> Any:
        return keyed.chat.CreateChatCompletion(ask(), metadata=(("x-api-key", STRANGER),))

    assert await code_of(with_good()) is grpc.StatusCode.OK
    await edited(keyed, {**KEYS, "keys": [row(GOOD, disabled=True), row(STRANGER)]})
    assert await code_of(with_good()) is grpc.StatusCode.UNAUTHENTICATED
    assert await code_of(with_stranger()) is grpc.StatusCode.OK


async def test_an_edit_that_would_open_the_service_waits_for_the_restart_that_it_needs(tmp_path: Path) -> None:
    """Listening on all addresses with keys; then keys go and the host becomes loopback, which can't apply yet."""
    async with running_service(tmp_path, {"grpc": {"host": "0.0.0.0"}, **KEYS}, env=ENV) as up:
        await edited(up, {"grpc": {"host": "127.0.0.1"}})
        assert not up.service.watcher.current.keys
        assert await code_of(up.chat.CreateChatCompletion(ask())) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_floor_added_by_an_edit_counts_without_a_restart(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        assert await code_of(up.chat.CreateChatCompletion(ask())) is grpc.StatusCode.OK
        await edited(up, {"floor": {"data_residency": ["eu"]}})
        with pytest.raises(aio.AioRpcError) as caught:
            await up.chat.CreateChatCompletion(ask())
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(caught.value) == "NO_ENDPOINT_ALLOWED"
        assert "endpoint.alpha/sim/alpha" in info_of(caught.value).metadata


async def test_without_keys_the_filters_of_the_owner_local_hold_at_both_doors(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        await edited(up, {"owners": [{"name": "local", "floor": {"data_residency": ["eu"]}}]})
        with pytest.raises(aio.AioRpcError) as caught:
            await up.chat.CreateChatCompletion(ask())
        assert reason_of(caught.value) == "NO_ENDPOINT_ALLOWED"
        body = {"model": "sim/alpha", "messages": [{"role": "user", "content": "hi"}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{up.http}/v1/chat/completions", json=body) as refused,
        ):
            assert (await refused.json())["error"]["reason"] == "NO_ENDPOINT_ALLOWED"
        assert not up.alpha.calls


def conditions(logs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Part and reason of those that began."""
    return [(line["part"], line["why"]) for line in logs if line["event"] == "condition_failed"]


async def test_a_bad_edit_changes_nothing_and_the_log_says_why(keyed: InProcess) -> None:
    with capture_logs() as logs:
        keyed.upstreams.write_settings({**KEYS, "deadlines": {"default_seconds": "soon"}, "unknown_key": 1})
        await until(lambda: bool(conditions(logs)), "the edit is refused")
    ((part, why),) = conditions(logs)
    assert part == "settings"
    assert "deadlines.default_seconds" in why
    assert "unknown_key" in why
    call = keyed.chat.CreateChatCompletion(ask(), metadata=(("x-api-key", GOOD),))
    assert await code_of(call) is grpc.StatusCode.OK


async def test_a_bad_edit_of_the_catalogue_changes_nothing_and_a_good_one_counts(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        with capture_logs() as logs:
            up.upstreams.write_catalog({"providers": [{"slug": "alpha", "dialect": "openai_chat"}]})
            await until(lambda: bool(conditions(logs)), "the edit is refused")
        ((part, why),) = conditions(logs)
        assert part == "catalog"
        assert "base_url" in why
        assert await code_of(up.chat.CreateChatCompletion(ask())) is grpc.StatusCode.OK
        rows = {
            "providers": [{"slug": "solo", "dialect": "openai_chat", "base_url": f"{up.alpha.url}/v1"}],
            "models": [{"id": "sim/solo", "endpoints": [{"provider": "solo"}]}],
        }
        before = up.service.catalog.current()
        up.upstreams.write_catalog(rows)
        await until(lambda: up.service.catalog.current() is not before, "the edit is taken")
        assert await code_of(up.chat.CreateChatCompletion(ask("sim/solo"))) is grpc.StatusCode.OK
        assert await code_of(up.chat.CreateChatCompletion(ask("sim/alpha"))) is grpc.StatusCode.NOT_FOUND


async def test_running_calls_survive_an_edit(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        up.alpha.script(Script(tokens=60, pace=0.02))
        call = up.chat.StreamChatCompletion(ask())
        chunks = aiter(call)
        await anext(chunks)
        before = up.service.watcher.current, up.service.catalog.current()
        up.upstreams.write_settings({"floor": {"data_residency": ["eu"]}})
        up.upstreams.write_catalog({"providers": [], "models": []})
        await until(
            lambda: up.service.watcher.current is not before[0] and up.service.catalog.current() is not before[1],
            "both edits are taken",
        )
        assert [chunk async for chunk in chunks][-1].choices[0].finish_reason


def swap_data(folder: Path, version: str, files: dict[str, bytes]) -> None:
    """What Kubernetes does with a ConfigMap or a Secret: a new folder, and `..data` points to it."""
    fresh = folder / f"..{version}"
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / name)
    pointer = folder / "..data_tmp"
    pointer.symlink_to(fresh.name)
    pointer.rename(folder / "..data")


async def test_settings_that_kubernetes_swaps_in_by_its_data_link_count(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        file = up.upstreams.settings_file
        text = file.read_text()
        file.unlink()
        swap_data(tmp_path, "first", {file.name: text.encode()})
        up.service.watcher.poll()
        assert await code_of(up.chat.CreateChatCompletion(ask())) is grpc.StatusCode.OK
        swap_data(tmp_path, "second", {file.name: f"{text}floor: {{eu_owned: true}}\n".encode()})
        await until(lambda: up.service.watcher.current.floor.eu_owned, "the swap is seen")
        assert await code_of(up.chat.CreateChatCompletion(ask())) is grpc.StatusCode.FAILED_PRECONDITION


class Certificates:
    """A private authority, and files that a door reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.versions = 0
        folder.mkdir()
        self.serial = self.replace()

    def replace(self, ca: trustme.CA | None = None) -> int:
        """Writes a fresh certificate by swapping the folder; gives its serial number."""
        from cryptography import x509

        made = (ca or self.ca).issue_cert("127.0.0.1", "localhost")
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        self.write({"tls.crt": chain, "tls.key": made.private_key_pem.bytes(), "ca.crt": self.ca.cert_pem.bytes()})
        return x509.load_pem_x509_certificate(chain).serial_number

    def write(self, files: dict[str, bytes]) -> None:
        """Swaps in other contents."""
        self.versions += 1
        swap_data(self.folder, f"v{self.versions}", files)

    def settings(self, **more: object) -> dict[str, Any]:
        """The `tls` section."""
        return {"tls": {"cert": str(self.folder / "tls.crt"), "key": str(self.folder / "tls.key"), **more}}

    def mutual(self) -> dict[str, Any]:
        """The `tls` section of a door that only lets in who has a certificate."""
        return self.settings(client_ca=str(self.folder / "ca.crt"), require_client_cert=True)

    def client(self, name: str) -> trustme.LeafCert:
        """A client's certificate."""
        return self.ca.issue_cert(name)

    def channel(self, address: str, client: trustme.LeafCert | None = None) -> aio.Channel:
        """A channel that trusts this authority."""
        credentials = grpc.ssl_channel_credentials(
            self.ca.cert_pem.bytes(),
            client.private_key_pem.bytes() if client else None,
            client.cert_chain_pems[0].bytes() if client else None,
        )
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        return aio.secure_channel(address, credentials, options=options)

    def context(self, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """The same for everything else."""
        context = ssl.create_default_context(cadata=self.ca.cert_pem.bytes().decode())
        context.set_alpn_protocols(["h2", "http/1.1"])
        if client is not None:
            client.configure_cert(context)
        return context

    async def served(self, address: str) -> int:
        """The serial number of the certificate that a door shows to a new connection."""
        host, _, port = address.removeprefix("https://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=self.context())
        shown = writer.get_extra_info("peercert")
        writer.transport.abort()
        return int(shown["serialNumber"], 16)


@pytest.fixture
def certificates(tmp_path: Path) -> Iterator[Certificates]:
    return Certificates(tmp_path / "certificates")  # type: ignore[return-value]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP door looks at its certificate files often."""
    monkeypatch.setattr(bootstrap, "_TLS_POLL_SECONDS", 0.05)


async def test_both_doors_speak_tls(tmp_path: Path, certificates: Certificates) -> None:
    tls = certificates.settings()
    async with running_service(tmp_path, {"grpc": tls, "http": tls}) as up:
        async with certificates.channel(up.grpc) as channel:
            stub = chat_pb2_grpc.ChatServiceStub(channel)
            assert (await stub.CreateChatCompletion(ask())).choices
        async with (
            aiohttp.ClientSession() as web,
            web.get(f"{up.http}/v1/models", ssl=certificates.context()) as got,
        ):
            assert got.status == 200
        assert await code_of(up.chat.CreateChatCompletion(ask())) is grpc.StatusCode.UNAVAILABLE, "plaintext"


@pytest.mark.usefixtures("often")
async def test_a_replaced_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path: Path, certificates: Certificates
) -> None:
    tls = certificates.settings()
    async with running_service(tmp_path, {"grpc": tls, "http": tls}) as up, certificates.channel(up.grpc) as old:
        stub = chat_pb2_grpc.ChatServiceStub(old)
        assert (await stub.CreateChatCompletion(ask())).choices
        for door in (up.grpc, up.http):
            assert await certificates.served(door) == certificates.serial
        fresh = certificates.replace()
        await asyncio.sleep(0.2)
        for door in (up.grpc, up.http):
            assert await certificates.served(door) == fresh != certificates.serial
        assert (await stub.CreateChatCompletion(ask())).choices


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("broken", ["no certificate", "another key", "no authority"])
async def test_a_bad_replacement_keeps_the_certificate_in_use_and_is_logged(
    tmp_path: Path, certificates: Certificates, broken: str
) -> None:
    tls = certificates.settings()
    with_authority = certificates.settings(client_ca=str(certificates.folder / "ca.crt"))
    first, other = certificates.ca.issue_cert("127.0.0.1"), certificates.ca.issue_cert("127.0.0.1")
    files = {
        "tls.crt": first.cert_chain_pems[0].bytes(),
        "tls.key": (other if broken == "another key" else first).private_key_pem.bytes(),
        "ca.crt": certificates.ca.cert_pem.bytes(),
    }
    if broken != "another key":
        files["tls.crt" if broken == "no certificate" else "ca.crt"] = b"no PEM at all\n"
    doors = {"http": with_authority} if broken == "no authority" else {"grpc": tls, "http": tls}
    async with running_service(tmp_path, doors) as up:
        served = (up.http,) if broken == "no authority" else (up.grpc, up.http)
        with capture_logs() as logs:
            certificates.write(files)
            await asyncio.sleep(0.2)
            for door in served:
                assert await certificates.served(door) == certificates.serial
        rejected = [line for line in logs if line["event"] == "certificate_rejected"]
        assert rejected
        assert all("tls.key" in line["files"] and line["problem"] != "SSLError" for line in rejected)
        fresh = certificates.replace()
        await asyncio.sleep(0.2)
        for door in served:
            assert await certificates.served(door) == fresh


@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_a_certificate_that_can_not_be_used_stops_the_start_with_its_file(
    tmp_path: Path, certificates: Certificates, door: str
) -> None:
    certificates.write({"tls.crt": b"no PEM at all\n", "tls.key": b"nor this\n"})
    with pytest.raises(OSError, match=r"TLS files can't be used .*tls\.crt"):
        async with running_service(tmp_path, {door: certificates.settings()}):
            pass


async def test_a_client_certificate_names_its_owner(tmp_path: Path, certificates: Certificates) -> None:
    tls = certificates.mutual()
    owners = [
        {"name": "team-b", "client_certificates": ["team-b.example"]},
        {"name": "europe", "client_certificates": ["europe.example"], "floor": {"data_residency": ["eu"]}},
    ]
    settings = {"grpc": {"host": "0.0.0.0", **tls}, "http": {**tls}, "owners": owners}
    async with running_service(tmp_path, settings) as up:
        address = up.grpc.replace("0.0.0.0", "127.0.0.1")
        codes = {}
        for name in ("team-b.example", "europe.example", "stranger.example"):
            async with certificates.channel(address, certificates.client(name)) as channel:
                codes[name] = await code_of(chat_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(ask()))
        assert codes == {
            "team-b.example": grpc.StatusCode.OK,
            "europe.example": grpc.StatusCode.FAILED_PRECONDITION,
            "stranger.example": grpc.StatusCode.UNAUTHENTICATED,
        }
        async with certificates.channel(address) as channel:
            nobody = chat_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(ask(), timeout=5)
            assert await code_of(nobody) is grpc.StatusCode.UNAVAILABLE, "no certificate, no connection"


async def test_a_key_and_tls_work_in_a_child_process_too(tmp_path: Path, certificates: Certificates) -> None:
    tls = certificates.settings()
    async with running_child(tmp_path, {"grpc": tls, **KEYS}, env=ENV) as up:
        assert isinstance(up, Child)
        async with certificates.channel(up.grpc) as channel:
            stub = chat_pb2_grpc.ChatServiceStub(channel)
            assert await code_of(stub.CreateChatCompletion(ask())) is grpc.StatusCode.UNAUTHENTICATED
            good = stub.CreateChatCompletion(ask(), metadata=(("x-api-key", GOOD),))
            assert await code_of(good) is grpc.StatusCode.OK
