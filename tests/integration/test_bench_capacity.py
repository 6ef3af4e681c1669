"""`python -m bench.capacity`: a tiny run of all of it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench import measure
from bench.capacity import KINDS, prompts
from tests.support import parts, postgres
from tests.support.parts import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_size_and_every_memory_of_the_capacity_page_is_measured() -> None:
    parts.require("/proc", measure.supported(), "the benchmark runs on Linux")
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    command = [sys.executable, "-m", "bench.capacity", "--responses", "4", "--streams", "3", "6"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert ran.returncode == 0, ran.stderr
    for kind in KINDS:
        found = re.search(
            rf"^{re.escape(kind.name)}: PostgreSQL (\S+) kB, SQLite (\S+) kB$", ran.stdout, re.MULTILINE
        )
        assert found, ran.stdout
    large = re.search(
        r"^a response, 40 kB each way: PostgreSQL \S+ kB, SQLite (\S+) kB$", ran.stdout, re.MULTILINE
    )
    assert large
    assert 75 < float(large[1]) < 110, "two texts of 40 kB, which SQLite does not compress"
    assert f"'responses': {len(KINDS) * 4 + 1}," in ran.stdout
    assert re.search(r"MiB by open streams: \{0: \d+\.\d, 3: \d+\.\d, 6: \d+\.\d\}", ran.stdout)
    assert re.search(r"^worker, idle: \d+\.\d MiB$", ran.stdout, re.MULTILINE)


def test_a_prompt_has_the_bytes_that_are_asked_for_and_no_two_are_the_same() -> None:
    made = prompts(4_000, 20)
    assert {len(text.encode()) for text in made} == {4_000}
    assert len(set(made)) == 20
