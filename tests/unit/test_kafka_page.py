"""docs/kafka.md says what the code says: names, reasons, ids, signatures, settings."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from adapters.kafka.topics import DEAD_LETTERS, JOBS, RESULTS, SUBMISSIONS
from service.edge.kafka import names
from service.edge.kafka.asyncapi_headers import REASONS
from service.edge.kafka.ids import response_id_of
from service.edge.kafka.signatures import sign
from service.settings import Settings
from service.settings.kafka_topics import results_topics
from tests.support.kafka_records import KEY, LATER, SHARED, read, record
from tests.support.pages import blocks, section, spans
from tests.support.parts import ROOT, require

PAGE: Final = ROOT / "docs" / "kafka.md"
HEADERS: Final = {value for name in names.__all__ if isinstance(value := getattr(names, name), str)}


def namespace(*, holding: str) -> dict[str, Any]:
    """What the page's Python block with this function defines."""
    (block,) = (text for text in blocks(PAGE.read_text(encoding="utf-8"), "python") if f"def {holding}(" in text)
    found: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_every_header_is_on_the_page_and_no_other_of_ours() -> None:
    told = set(spans(PAGE))
    assert told >= HEADERS
    ours = {span for span in told if re.fullmatch(r"eurouter-[a-z-]+", span)}
    assert ours <= HEADERS


def test_every_reason_of_a_dead_letter_is_on_the_page() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", section(PAGE, "Dead letters"), re.MULTILINE)
    assert rows == [(reason.value, text) for reason, text in REASONS.items()]


def test_every_topic_is_on_the_page_as_it_is_made() -> None:
    for configured in (SUBMISSIONS, JOBS, RESULTS, DEAD_LETTERS):
        row = rf"\| 12 \| `{configured['cleanup.policy']}` \| {configured['retention.ms']} \("
        assert re.search(row, section(PAGE, "For operators"))
    assert f"`max.compaction.lag.ms` {RESULTS['max.compaction.lag.ms']} (" in section(PAGE, "For operators")
    kafka = Settings().kafka
    told = set(spans(PAGE))
    assert told >= set(kafka.names.model_dump().values()) | {kafka.intake_group, kafka.wake_group}
    assert kafka.partitions == 12


def test_the_pages_response_id_is_the_services() -> None:
    told = namespace(holding="response_id")["response_id"]
    assert told("team-a", "order-17") == response_id_of("team-a", "order-17")
    assert read(record(headers={"idempotency-key": "order-17"})).response_id == told("team-a", "order-17")


@pytest.mark.parametrize("key", [b"order-17", b"", None])
def test_the_pages_signature_is_the_services(key: bytes | None) -> None:
    code = namespace(holding="signature")
    assert code["SIGNED"] == names.SIGNED
    headers = {names.EXPIRES_AT: LATER.encode(), names.GROUP: b"", names.CORRELATION_ID: b"\xff\x00"}
    value = b'{"model": "small", "input": "Name three rivers."}'
    told = code["signature"](KEY, "team-b", SHARED, key, value, headers)
    assert told == sign(KEY, "team-b", SHARED, key, value, list(headers.items()))
    sent = {**headers, names.KEY_ID: b"b1", names.SIGNATURE: told}
    assert read(record(value, topic=SHARED, key=key, headers=sent)).principal.owner == "team-b"


def test_a_key_made_as_the_page_says_is_one_for_the_settings(tmp_path: Path) -> None:
    require("openssl", shutil.which("openssl") is not None, "install openssl")
    (commands,) = (
        text for text in blocks(PAGE.read_text(encoding="utf-8"), "sh") if text.startswith("openssl genpkey")
    )
    printed = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    private = load_pem_private_key((tmp_path / "team-b.pem").read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    assert b64decode(printed) == private.public_key().public_bytes_raw()


def test_the_pages_settings_are_settings(tmp_path: Path) -> None:
    (example,) = blocks(section(PAGE, "For operators"), "yaml")
    config = tmp_path / "eurouter.yaml"
    config.write_text(example, encoding="utf-8")
    settings = Settings.load(config, {})
    assert settings.kafka.enabled
    assert {"team-a.results", "team-b.results", "team-b.urgent"} <= set(results_topics(settings))
    assert settings.owners[0].public_keys[0].raw == KEY.public_key().public_bytes_raw()
