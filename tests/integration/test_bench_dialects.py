"""The benchmark of translation: every dialect is in it, says the same as the others, and is judged by them."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import orjson
import pytest

from adapters.providers.registry import DIALECTS
from bench import product, traffic, verify
from bench.dialects import pure, report
from bench.dialects.samples import BASE, CONVERSATION, NAMES, QUESTION, sample
from bench.fleet import Cores, Piped
from tests.support.running import running_service


def test_every_registered_dialect_is_measured() -> None:
    assert set(NAMES) == set(DIALECTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_dialect_is_asked_and_answered_the_same(name: str) -> None:
    one = sample(name)
    whole = pure.text(one.dialect.read(one.whole))
    assert whole == traffic.answer_text(64)
    assert pure.text(pure.decode(one, one.events)) == traffic.answer_text(traffic.STREAM_TOKENS)
    assert b"".join(one.reads) == b"".join(one.events)
    assert len(one.events) >= traffic.STREAM_TOKENS
    for asked in (QUESTION, CONVERSATION):
        body = one.dialect.build(asked, one.endpoint, stream=True).body
        assert orjson.dumps(traffic.USER)[1:-1] in body
    assert body.count(b"find_trains") > 10


def test_a_dialect_that_misreads_its_answer_is_not_timed() -> None:
    one = sample("gemini")
    with pytest.raises(AssertionError, match="gemini"):
        pure.check(dataclasses.replace(one, whole=one.whole.replace(b"model", b"m0del")))


def test_a_measurement_has_every_part_of_every_dialect_once_a_round(tmp_path: Path) -> None:
    timer = Piped("translation", "bench.dialects.pure", Cores(frozenset(), frozenset(), frozenset()), tmp_path)
    try:
        figures = timer.ask({"rounds": 2, "seconds": 0.001})["figures"]
    finally:
        timer.stop()
    assert set(figures) == set(NAMES)
    for of in figures.values():
        assert tuple(of) == pure.PARTS
        assert all(len(values) == 2 and min(values) > 0 for values in of.values())
    shown = report.tables({"figures": figures})
    assert all(name in shown for name in NAMES)
    assert len(report.verdicts({"figures": figures})) == (len(NAMES) - 1) * len(report.JUDGED)


def test_a_dialect_is_judged_by_what_openai_chat_costs() -> None:
    base = {part: [10.0, 10.0, 10.0] for part in pure.PARTS}
    other = base | {"read": [21.0, 20.0, 19.0], "decode, one a read": [15.0, 14.0, 16.0]}
    found = {v.what: v for v in report.verdicts({"figures": {BASE: base, "gemini": other}})}
    whole = found[f"translation of a call, gemini: times {BASE}"]
    assert (whole.met, whole.measured) == (True, "1.50 (by round 1.45 to 1.55)")
    assert found[f"translation of a token, one a read, gemini: times {BASE}"].met
    worse = {BASE: base, "gemini": other | {"decode, many a read": [15.1] * 3}}
    assert not {v.what: v.met for v in report.verdicts({"figures": worse})}[
        f"translation of a token, many a read, gemini: times {BASE}"
    ]
    assert [v.met for v in report.verdicts({})] == [None]


async def test_the_service_under_test_answers_word_by_word_from_providers_of_every_dialect(tmp_path: Path) -> None:
    async with running_service(tmp_path, catalog=lambda alpha, _: product.catalog_of(f"{alpha}/v1")) as up:
        port = int(up.http.rpartition(":")[2])
        for dialect in traffic.DIALECTS:
            names = (
                traffic.name_of(dialect, traffic.UNARY_MODEL),
                traffic.name_of(dialect, traffic.BURST_MODEL),
            )
            await asyncio.to_thread(verify.answers_http, dialect, port, "none", names)
        paths = {call.path for call in up.alpha.calls}
    assert len(paths) >= len(traffic.DIALECTS)
