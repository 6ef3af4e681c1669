"""Calls with an identity at a cloud, through real sockets: signatures are checked as AWS would, tokens fetched."""

import asyncio
import json
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import CIMultiDict
from structlog.testing import capture_logs

from adapters.providers.bedrock import DIALECT as BEDROCK
from adapters.providers.faults import Bounds
from adapters.providers.http import HttpSettings
from adapters.providers.identity import held
from adapters.providers.identity.identities import Identities
from adapters.providers.secrets import Secrets
from adapters.providers.upstream import HttpUpstream
from service.domain.catalog import AnyAuth, Endpoint, Facts, Price, Provider, Quirks, Timeouts
from service.domain.cloud_auth import AwsAuth, CloudAuth, EntraAuth, GoogleAuth
from service.domain.failure import FailureKind, UpstreamError
from tests.integration.upstream_server import GENERATION, Peer, Server, context, lines, serving, texts

PATH = "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123%3Ainference-profile%2Feu.x-v1%3A0/converse"
KEYS = {"AWS_ID": "AKIDEXAMPLE", "AWS_SECRET": "wJalrXUtnFEMI-EXAMPLEKEY", "AWS_TOKEN": "session-token-1"}
ENTRA = {"TENANT": "11111111-2222-3333-4444-555555555555", "CLIENT": "an-application", "SECRET": "s3cr3t-of-app"}
SIGNED = AwsAuth("eu-central-1", access_key="env:AWS_ID", secret="env:AWS_SECRET", session_token="env:AWS_TOKEN")


def endpoint(server: Server, auth: AnyAuth, path: str | None = None) -> Endpoint:
    provider = Provider(
        slug="cloud",
        name="Cloud",
        dialect="lines",
        base_url=server.url,
        auth=auth,
        quirks=Quirks(path=path),
        timeouts=Timeouts(connect=2, first_byte=2, idle=2, total=5),
    )
    return Endpoint("cloud/m", provider, "v/m", "m", Price(), Facts(), frozenset())


@asynccontextmanager
async def upstream(
    env: Mapping[str, str], body: bytes = b"hello", ca_file: Path | None = None
) -> AsyncIterator[HttpUpstream]:
    settings = HttpSettings(ca_file=str(ca_file) if ca_file else None)
    up = HttpUpstream({"lines": lines(body)}, Secrets(env), settings=settings)
    try:
        yield up
    finally:
        await up.aclose()


async def failure(up: HttpUpstream, to: Endpoint, seconds: float = 10.0) -> tuple[FailureKind, str]:
    with pytest.raises(UpstreamError) as error:
        await up.call(to, GENERATION, context(seconds))
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
    return error.value.failure.kind, error.value.failure.message


async def greets(peer: Peer) -> None:
    await peer.whole(b"hi")


class Tokens:
    """A server that gives numbered tokens, or what `answer` says."""

    def __init__(self, *, expires_in: int = 3600, answer: Any = None, status: str = "200 OK") -> None:
        self.expires_in = expires_in
        self.answer = answer
        self.status = status
        self.more: dict[str, str] = {}
        self.asked: list[Peer] = []

    async def __call__(self, peer: Peer) -> None:
        self.asked.append(peer)
        token = {"access_token": f"token-{len(self.asked)}", "expires_in": self.expires_in, "token_type": "Bearer"}
        body = json.dumps(self.answer or token | self.more).encode()
        await peer.whole(body, self.status, "content-type: application/json\r\nmetadata-flavor: Google\r\n")

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.asked[-1].body.decode()).items()}


def checks_signature(peer: Peer) -> bool:
    """Recomputes the signature from what came over the wire, as AWS does."""
    target = peer.head.split(" ", 2)[1]
    sent = {"x-amz-date": peer.header("x-amz-date") or "", "host": peer.header("host") or ""}
    authorization = peer.header("authorization") or ""
    named = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: peer.header(name) or "" for name in named}
    request = AWSRequest("POST", f"http://{sent['host']}{target}", headers, peer.body)
    request.context["timestamp"] = sent["x-amz-date"]
    auth = SigV4Auth(Credentials(KEYS["AWS_ID"], KEYS["AWS_SECRET"]), "bedrock", "eu-central-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return authorization.endswith(f"Signature={auth.signature(text, request)}")


async def verifies(peer: Peer) -> None:
    await peer.whole(b"verified" if checks_signature(peer) else b"SignatureDoesNotMatch")


@pytest.mark.parametrize("size", [0, 40, 700_000], ids=["empty", "small", "sliced"])
async def test_a_signature_is_the_one_that_aws_computes_from_what_arrives(size: int) -> None:
    async with serving(verifies) as server, upstream(KEYS, b"x" * size) as up:
        events = await up.call(endpoint(server, SIGNED, PATH), GENERATION, context())
    assert texts(events) == ["verified"]
    (peer,) = server.peers
    assert peer.head.startswith(f"POST {PATH} HTTP/1.1")
    assert peer.header("x-amz-security-token") == "session-token-1"


async def test_a_changed_body_would_not_pass_the_check_of_signatures() -> None:
    async def tampers(peer: Peer) -> None:
        peer.body += b" "
        await verifies(peer)

    async with serving(tampers) as server, upstream(KEYS) as up:
        assert texts(await up.call(endpoint(server, SIGNED, PATH), GENERATION, context())) == [
            "SignatureDoesNotMatch"
        ]


async def test_the_machines_own_aws_credentials_sign_when_the_row_names_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["AWS_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["AWS_SECRET"])
    async with serving(verifies) as server, upstream({}) as up:
        to = endpoint(server, AwsAuth("eu-central-1"), PATH)
        assert texts(await up.call(to, GENERATION, context())) == ["verified"]


async def test_a_containers_role_gives_credentials_and_is_not_asked_for_every_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_files(monkeypatch, tmp_path)
    given = {
        "AccessKeyId": KEYS["AWS_ID"],
        "SecretAccessKey": KEYS["AWS_SECRET"],
        "Token": "of-the-role",
        "Expiration": "2099-01-01T00:00:00Z",
    }
    role = Tokens(answer=given)
    async with serving(role) as giver, serving(verifies) as server, upstream({}) as up:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{giver.url}/role")
        to = endpoint(server, AwsAuth("eu-central-1"), PATH)
        for _ in range(3):
            assert texts(await up.call(to, GENERATION, context())) == ["verified"]
    assert len(role.asked) == 1
    assert server.peers[0].header("x-amz-security-token") == "of-the-role"


async def test_a_machine_without_aws_credentials_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_files(monkeypatch, tmp_path)
    async with serving(verifies) as server, upstream({}) as up:
        with capture_logs() as logs:
            kind, text = await failure(up, endpoint(server, AwsAuth("eu-central-1")))
            assert await failure(up, endpoint(server, AwsAuth("eu-central-1"))) == (kind, text)
    assert kind is FailureKind.AUTH
    why = "this machine has no AWS credentials: set auth.access_key and auth.secret, or give it a role"
    assert text == f"provider cloud has no credentials: {why}"
    told = [(line["provider"], line["why"]) for line in logs if line["event"] == "identity_failed"]
    assert told == [("cloud", why)], "once, however many calls meet it"
    assert not server.peers


def no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    return server, folder / "ca.pem"


def entra(giver: Server, assertion: str = "") -> EntraAuth:
    return EntraAuth(
        "env:TENANT",
        "env:CLIENT",
        secret="" if assertion else "env:SECRET",
        assertion=assertion,
        authority=f"https://127.0.0.1:{giver.port}",
    )


async def test_a_token_of_entra_is_asked_for_once_and_goes_with_every_call(
    tls: tuple[ssl.SSLContext, Path],
) -> None:
    tokens = Tokens()
    async with serving(tokens, tls[0]) as giver, serving(greets) as server, upstream(ENTRA, ca_file=tls[1]) as up:
        to = endpoint(server, entra(giver))
        await asyncio.gather(*(up.call(to, GENERATION, context()) for _ in range(8)))
        await up.call(to, GENERATION, context())
    assert {peer.header("authorization") for peer in server.peers} == {"Bearer token-1"}
    assert len(tokens.asked) == 1
    assert tokens.form["scope"] == "https://cognitiveservices.azure.com/.default"
    assert (tokens.form["client_id"], tokens.form["client_secret"]) == ("an-application", "s3cr3t-of-app")
    assert tokens.asked[0].head.startswith(f"POST /{ENTRA['TENANT']}/oauth2/v2.0/token ")


async def test_a_federated_token_is_exchanged_for_one_of_entra(
    tls: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    tokens, file = Tokens(), tmp_path / "token"
    file.write_text("federated.token.here\n")
    async with serving(tokens, tls[0]) as giver, serving(greets) as server, upstream(ENTRA, ca_file=tls[1]) as up:
        to = endpoint(server, entra(giver, assertion=f"file:{file}"))
        await up.call(to, GENERATION, context())
    assert tokens.form["client_assertion"] == "federated.token.here"
    assert server.peers[0].header("authorization") == "Bearer token-1"


async def test_a_managed_identity_gives_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens()
    tokens.more = {"expires_on": "4000000000", "resource": "https://cognitiveservices.azure.com"}
    async with serving(tokens) as giver, serving(greets) as server, upstream(ENTRA) as up:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{giver.url}/identity")
        monkeypatch.setenv("IDENTITY_HEADER", "of-the-machine")
        await up.call(endpoint(server, EntraAuth(client="env:CLIENT")), GENERATION, context())
    assert tokens.asked[0].header("x-identity-header") == "of-the-machine"
    assert "client_id=an-application" in tokens.asked[0].head
    assert server.peers[0].header("authorization") == "Bearer token-1"


async def test_what_entra_refuses_is_our_mistake_told_without_any_secret(
    tls: tuple[ssl.SSLContext, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    text = f"AADSTS7000215: Invalid client secret provided: {ENTRA['SECRET']}."
    tokens = Tokens(answer={"error": "invalid_client", "error_description": text}, status="401 Unauthorized")
    async with serving(tokens, tls[0]) as giver, serving(greets) as server, upstream(ENTRA, ca_file=tls[1]) as up:
        kind, message = await failure(up, endpoint(server, entra(giver)))
    assert kind is FailureKind.AUTH
    assert message == (
        "provider cloud has no credentials: Microsoft Entra gives no token (AADSTS7000215): check auth.tenant, "
        "auth.client and auth.secret"
    )
    assert not server.peers
    assert "client_secret=" not in caplog.text


async def test_a_token_that_a_provider_repeats_is_masked_and_never_logged(
    tls: tuple[ssl.SSLContext, Path], caplog: pytest.LogCaptureFixture
) -> None:
    async def repeats(peer: Peer) -> None:
        said = f"who is {peer.header('authorization')}?".encode()
        await peer.whole(said, "401 Unauthorized")

    caplog.set_level(logging.DEBUG)
    async with (
        serving(Tokens(), tls[0]) as giver,
        serving(repeats) as server,
        upstream(ENTRA, ca_file=tls[1]) as up,
    ):
        _, message = await failure(up, endpoint(server, entra(giver)))
    assert message == "who is Bearer [key]?"
    assert "token-1" not in caplog.text


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "with escaped slashes"])
async def test_a_long_session_token_that_a_provider_repeats_is_masked_to_its_last_character(escaped: bool) -> None:
    token = "IQoJb3JpZ2luX2VjE/" + "x+/" * 400

    async def repeats(peer: Peer) -> None:
        said = peer.header("x-amz-security-token") or ""
        said = said.replace("/", "\\/") if escaped else said
        await peer.whole(f'{{"message": "The security token {said} is expired"}}'.encode(), "403 Forbidden")

    async with serving(repeats) as server:
        up = HttpUpstream({"lines": BEDROCK}, Secrets(KEYS | {"AWS_TOKEN": token}))
        _, message = await failure(up, endpoint(server, SIGNED, PATH))
        await up.aclose()
    assert message == "The security token [key] is expired"


async def test_a_token_that_a_provider_does_not_know_is_replaced_but_not_with_every_call(
    tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def knows_the_second(peer: Peer) -> None:
        known = peer.header("authorization") == "Bearer token-2"
        await peer.whole(b"hi", "200 OK" if known else "401 Unauthorized")

    tokens = Tokens()
    async with (
        serving(tokens, tls[0]) as giver,
        serving(knows_the_second) as server,
        upstream(ENTRA, ca_file=tls[1]) as up,
    ):
        to = endpoint(server, entra(giver))
        for _ in range(3):
            await failure(up, to)
        assert len(tokens.asked) == 1
        monkeypatch.setattr(held, "_YOUNG", 0.0)
        await failure(up, to)
        assert texts(await up.call(to, GENERATION, context())) == ["hi"]
    assert len(tokens.asked) == 2


async def test_while_a_large_body_is_signed_the_event_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    signed_on: list[str] = []
    sign = SigV4Auth.add_auth

    def add_auth(self: SigV4Auth, request: Any) -> None:
        signed_on.append(threading.current_thread().name)
        sign(self, request)

    monkeypatch.setattr(SigV4Auth, "add_auth", add_auth)
    for size in (1024, 3 * 1024 * 1024):
        async with serving(verifies) as server, upstream(KEYS, b"x" * size) as up:
            assert texts(await up.call(endpoint(server, SIGNED, PATH), GENERATION, context())) == ["verified"]
    assert signed_on == [threading.main_thread().name, "signature"]


async def test_identities_that_nobody_used_for_an_hour_go_when_another_is_made(
    tls: tuple[ssl.SSLContext, Path],
) -> None:
    now, tokens = 0.0, Tokens()
    identities = Identities(Secrets(ENTRA | KEYS), str(tls[1]), clock=lambda: now)

    async def sign(auth: CloudAuth) -> str:
        headers: CIMultiDict[str] = CIMultiDict()
        due = asyncio.get_running_loop().time() + 10
        bounds = Bounds("cloud", Timeouts(), due, "total")
        await identities.sign(auth, "https://cloud.example/call", headers, b"", bounds)
        return headers["authorization"]

    async with serving(tokens, tls[0]) as giver:
        first = entra(giver)
        assert [await sign(first), await sign(first)] == ["Bearer token-1"] * 2
        now = 3000.0
        await sign(SIGNED)
        assert await sign(first) == "Bearer token-1", "it is in use"
        now = 7000.0
        await sign(replace(SIGNED, region="eu-west-1"))
        assert await sign(first) == "Bearer token-2", "it was gone, and is made again"
        await identities.aclose()


async def test_a_giver_of_tokens_that_hangs_is_bounded_by_the_calls_deadline(
    tls: tuple[ssl.SSLContext, Path],
) -> None:
    async def hangs(peer: Peer) -> None:
        await asyncio.sleep(30)

    async with serving(hangs, tls[0]) as giver, serving(greets) as server, upstream(ENTRA, ca_file=tls[1]) as up:
        began = asyncio.get_running_loop().time()
        # The first call of a process also imports the library.
        kind, message = await failure(up, endpoint(server, entra(giver)), 2.0)
        assert asyncio.get_running_loop().time() - began < 4
    assert (kind, "deadline" in message) == (FailureKind.TIMEOUT, True)


def service_account(giver: Server) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k1",
        "private_key": pem.decode(),
        "client_email": "router@p.iam.gserviceaccount.com",
        "token_uri": f"{giver.url}/token",
    }
    return json.dumps(account, indent=2)


async def test_a_service_account_of_google_gives_a_token_once_for_many_calls(tmp_path: Path) -> None:
    tokens, file = Tokens(), tmp_path / "key.json"
    async with serving(tokens) as giver, serving(greets) as server, upstream({}) as up:
        file.write_text(service_account(giver))
        to = endpoint(server, GoogleAuth(f"file:{file}"))
        await asyncio.gather(*(up.call(to, GENERATION, context()) for _ in range(5)))
    assert tokens.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert len(tokens.asked) == 1
    assert {peer.header("authorization") for peer in server.peers} == {"Bearer token-1"}


async def test_a_federation_of_google_exchanges_the_machines_token(tmp_path: Path) -> None:
    tokens, subject = Tokens(), tmp_path / "subject"
    subject.write_text("subject.token")
    async with serving(tokens) as giver, serving(greets) as server:
        described = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{giver.url}/v1/token",
            "credential_source": {"file": str(subject)},
        }
        async with upstream({"GOOGLE": json.dumps(described)}) as up:
            await up.call(endpoint(server, GoogleAuth("env:GOOGLE")), GENERATION, context())
    assert tokens.form["subject_token"] == "subject.token"
    assert server.peers[0].header("authorization") == "Bearer token-1"


async def test_googles_metadata_server_gives_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from google.auth.compute_engine import _metadata

    tokens = Tokens()
    tokens.more = {"email": "router@p.iam.gserviceaccount.com"}
    async with serving(tokens) as giver, serving(greets) as server, upstream({}) as up:
        for name in ("_GCE_METADATA_HOST", "_GCE_DEFAULT_HOST", "_GCE_DEFAULT_MDS_IP"):
            monkeypatch.setattr(_metadata, name, f"127.0.0.1:{giver.port}", raising=False)
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{giver.port}")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        await up.call(endpoint(server, GoogleAuth()), GENERATION, context())
    assert server.peers[0].header("authorization") == f"Bearer token-{len(tokens.asked)}"


async def test_what_google_refuses_is_our_mistake(tmp_path: Path) -> None:
    tokens = Tokens(answer={"error": "invalid_grant", "error_description": "Bad JWT"}, status="400 Bad Request")
    file = tmp_path / "key.json"
    async with serving(tokens) as giver, serving(greets) as server, upstream({}) as up:
        file.write_text(service_account(giver))
        kind, message = await failure(up, endpoint(server, GoogleAuth(f"file:{file}")))
        assert kind is FailureKind.AUTH
        assert message == (
            "provider cloud has no credentials: Google gives no token (invalid_grant): check the credentials in "
            "auth.secret"
        )
        other = tmp_path / "other.json"
        other.write_text('{"type": "of another world"}')
        kind, message = await failure(up, endpoint(server, GoogleAuth(f"file:{other}")))
        assert kind is FailureKind.AUTH
        assert message.endswith("other.json is no credentials document that Google's library takes")
    assert not server.peers
