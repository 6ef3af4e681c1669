"""The page docs/recorded.md says what the recorded exchanges and the golden files are now."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

from tests.contract import counts
from tests.contract.recorded_forms import KINDS
from tests.support.recorded import read_exchanges


def test_the_page_is_what_is_counted(shared: Path) -> None:
    assert counts.PAGE.read_text(encoding="utf-8") == counts.page(shared), "run `make docs`"


def test_no_recorded_exchange_is_left_uncounted(shared: Path) -> None:
    with lzma.open(shared / "fixtures" / "recorded-exchanges.jsonl.xz", "rt", encoding="utf-8") as lines:
        kinds = [json.loads(line)["kind"] for line in lines]
    assert set(kinds) == set(KINDS)
    assert len(kinds) == sum(len(read_exchanges(shared, kind)) for kind in KINDS)
    for kind, recorded in KINDS.items():
        for exchange in read_exchanges(shared, kind):
            assert counts.became(exchange, recorded.dialect) in counts.COLUMNS
