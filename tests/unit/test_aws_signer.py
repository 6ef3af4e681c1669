"""AWS signatures: published vectors, and what botocore computes for a whole request of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from adapters.providers.identity.aws import AwsSigner
from adapters.providers.secrets import SecretError, Secrets
from service.domain.cloud_auth import AwsAuth

ENV = {"ID": "AKIDEXAMPLE", "KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "TOKEN": "session-token-1"}
MOMENT = dt.datetime(2015, 8, 30, 12, 36, 0)  # noqa: DTZ001 - as botocore's own clock gives it


@pytest.fixture
def at_the_vectors_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: MOMENT)


def signer(service: str = "bedrock", region: str = "eu-central-1", *, token: bool = False) -> AwsSigner:
    auth = AwsAuth(region, service, "env:ID", "env:KEY", "env:TOKEN" if token else "")
    return AwsSigner(auth, Secrets(ENV))


async def signed(by: AwsSigner, url: str, body: bytes, **headers: str) -> CIMultiDict[str]:
    sent = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    await by.sign(url, sent, body, asyncio.get_running_loop().time() + 5)
    return sent


# AWS's Signature Version 4 test suite (docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html): its
# POSTs to https://example.amazonaws.com/ for the service "service" in us-east-1.
@pytest.mark.parametrize(
    ("body", "headers", "signature"),
    [
        (b"", {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            b"Param1=value1",
            {"content_type": "application/x-www-form-urlencoded"},
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["post-vanilla", "post-x-www-form-urlencoded"],
)
async def test_aws_own_test_vectors_are_signed_as_they_say(
    at_the_vectors_moment: None, body: bytes, headers: dict[str, str], signature: str
) -> None:
    by = signer("service", "us-east-1")
    sent = await signed(by, "https://example.amazonaws.com/", body, **headers)
    assert sent["authorization"].endswith(f"Signature={signature}")
    assert sent["x-amz-date"] == "20150830T123600Z"


@pytest.mark.parametrize(
    "path",
    [
        "/model/eu.amazon.nova-lite-v1%3A0/converse",
        "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123%3Ainference-profile%2Feu.anthropic.x-v1%3A0/converse-stream",
        "/v1/a%20b/c~d",
    ],
)
async def test_an_encoded_path_is_signed_as_botocore_signs_it_encoded_once_more(
    at_the_vectors_moment: None, path: str
) -> None:
    url, body = f"https://bedrock-runtime.eu-central-1.amazonaws.com{path}", b'{"messages":[]}'
    by = signer(token=True)
    sent = await signed(by, url, body, content_type="application/json", accept="application/json")
    theirs = AWSRequest("POST", url, {"content-type": "application/json"}, body)
    SigV4Auth(Credentials(ENV["ID"], ENV["KEY"], ENV["TOKEN"]), "bedrock", "eu-central-1").add_auth(theirs)
    assert sent["authorization"] == theirs.headers["Authorization"]
    assert sent["x-amz-security-token"] == ENV["TOKEN"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in sent["authorization"]
    asked = SigV4Auth(Credentials("a", "b"), "bedrock", "eu-central-1").canonical_request(theirs)
    assert "%253A" in asked or "%2520" in asked


async def test_a_missing_key_is_told_by_its_reference() -> None:
    by = AwsSigner(AwsAuth("eu-central-1", access_key="env:ID", secret="env:GONE"), Secrets(ENV))
    with pytest.raises(SecretError, match="env:GONE"):
        await signed(by, "https://example.amazonaws.com/", b"")


async def test_signing_costs_far_less_than_a_millisecond() -> None:
    by, body = signer(token=True), b"x" * 4096
    url = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/eu.amazon.nova-lite-v1%3A0/converse"
    await signed(by, url, body, content_type="application/json")
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(100):
            await signed(by, url, body, content_type="application/json")
        best = min(best, (time.perf_counter() - began) / 100)
    assert best < 0.001, f"{best * 1e6:.0f} µs for one signature"
    print(f"{best * 1e6:.0f} µs")
