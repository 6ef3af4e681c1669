"""What a catalogue may say of auth, and what becomes of it: rows of identities, their status, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.catalog.auth_part import region_in
from adapters.catalog.load import build_catalog, read_catalog
from adapters.documents.read import DocumentError
from adapters.providers.registry import DIALECTS
from adapters.providers.secrets import Secrets
from service.domain.catalog import Provider, ProviderStatus
from service.domain.cloud_auth import AwsAuth, EntraAuth, GoogleAuth

BEDROCK = "https://bedrock-runtime.eu-central-1.amazonaws.com"


def provider(
    tmp_path: Path, auth: dict[str, Any], base_url: str = BEDROCK, env: dict[str, str] | None = None, **more: Any
) -> Provider:
    file = tmp_path / "catalog.yaml"
    row = {"slug": "cloud", "dialect": "openai_chat", "base_url": base_url, "auth": auth, **more}
    file.write_text(yaml.safe_dump({"providers": [row]}))
    dialects = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    return build_catalog(read_catalog(file), dialects, Secrets(env or {}).is_configured).providers["cloud"]


@pytest.mark.parametrize(
    ("address", "region"),
    [
        (BEDROCK, "eu-central-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://vpce-0a1b-x2.bedrock-runtime.eu-west-3.vpce.amazonaws.com", "eu-west-3"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://gateway.example.com", None),
        ("http://127.0.0.1:8080", None),
    ],
)
def test_the_region_to_sign_for_stands_in_bedrocks_own_addresses(address: str, region: str | None) -> None:
    assert region_in(address) == region


def test_a_rows_region_goes_before_the_addresses(tmp_path: Path) -> None:
    assert provider(tmp_path, {"kind": "aws_sigv4"}).auth == AwsAuth("eu-central-1")
    assert provider(tmp_path, {"kind": "aws_sigv4", "region": "eu-north-1"}).auth == AwsAuth("eu-north-1")


def test_a_provider_lacks_configuration_as_long_as_one_of_its_references_does(tmp_path: Path) -> None:
    auth = {"kind": "aws_sigv4", "access_key": "env:AWS_ID", "secret": "env:AWS_SECRET"}
    row = provider(tmp_path, auth, env={"AWS_ID": "AKID"})
    assert row.status is ProviderStatus.NOT_CONFIGURED
    assert row.status_message == "Its key is missing: set the environment variable AWS_SECRET."
    row = provider(tmp_path, auth)
    assert "AWS_ID and set the environment variable AWS_SECRET" in row.status_message
    row = provider(tmp_path, auth, env={"AWS_ID": "AKID", "AWS_SECRET": "s"})
    assert row.status is ProviderStatus.ACTIVE


def test_the_machines_own_identity_needs_nothing_configured(tmp_path: Path) -> None:
    for kind in ("aws_sigv4", "entra", "google"):
        assert provider(tmp_path, {"kind": kind}).status is ProviderStatus.ACTIVE


def test_a_credentials_document_of_many_lines_counts_as_configured(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    row = provider(tmp_path, {"kind": "google", "secret": f"file:{key}"})
    assert row.status is ProviderStatus.NOT_CONFIGURED
    key.write_text('{\n  "type": "service_account"\n}\n')
    row = provider(tmp_path, {"kind": "google", "secret": f"file:{key}"})
    assert row.auth == GoogleAuth(secret=f"file:{key}")
    assert row.status is ProviderStatus.ACTIVE


def test_entra_takes_an_applications_secret_or_a_federated_token_with_tenant_and_client(tmp_path: Path) -> None:
    named = {"kind": "entra", "tenant": "env:T", "client": "env:C"}
    assert provider(tmp_path, {**named, "secret": "env:S", "scope": "api://x/.default"}).auth == EntraAuth(
        "env:T", "env:C", secret="env:S", scope="api://x/.default"
    )
    assert provider(tmp_path, {**named, "assertion": "file:/token"}).auth == EntraAuth(
        "env:T", "env:C", assertion="file:/token"
    )
    assert provider(tmp_path, {"kind": "entra", "client": "env:C"}).auth == EntraAuth(client="env:C")


@pytest.mark.parametrize(
    ("auth", "problem"),
    [
        ({"kind": "aws_sigv4", "secret": "env:S"}, "`access_key` and `secret` go together"),
        ({"kind": "aws_sigv4", "session_token": "env:S"}, "`session_token` goes with"),
        ({"kind": "aws_sigv4", "tenant": "env:T"}, "kind aws_sigv4 has no `tenant`"),
        ({"kind": "bearer", "secret": "env:S", "region": "eu-central-1"}, "kind bearer has no `region`"),
        ({"kind": "entra", "secret": "env:S"}, "needs `tenant` and `client`"),
        ({"kind": "entra", "secret": "env:S", "assertion": "env:A"}, "`secret` or `assertion`, not both"),
        ({"kind": "entra", "tenant": "env:T"}, "`tenant` goes with"),
        ({"kind": "google", "client": "env:C"}, "kind google has no `client`"),
        ({"kind": "google", "secret": "{}"}, "must say where the secret is"),
        ({"kind": "entra", "authority": "http://login.example.com"}, "authority"),
    ],
)
def test_what_an_auth_part_lacks_or_has_too_much_is_told(
    tmp_path: Path, auth: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DocumentError) as error:
        provider(tmp_path, auth)
    assert problem in str(error.value)
    assert "providers[0].auth" in str(error.value)


def test_signing_needs_a_region_from_somewhere(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"providers\[0\]\.auth: needs a `region`"):
        provider(tmp_path, {"kind": "aws_sigv4"}, "https://gateway.example.com")


def test_discovery_is_refused_where_calls_are_signed(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="is not possible with auth kind google"):
        provider(tmp_path, {"kind": "google"}, discover=True, price={"prompt": 1, "completion": 1})
