"""The simulator's base URLs, by dialect: what it prints is where each dialect's calls arrive."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from adapters.providers.registry import DIALECTS
from adapters.providers.simulator.formats import BASES, WIRE_FORMATS
from service.domain.generation import Generation
from tests.contract.sample import endpoint_for
from tests.golden.requests import HELLO


def test_every_dialect_has_one() -> None:
    assert set(BASES) == set(DIALECTS)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", DIALECTS)
def test_what_a_dialect_asks_below_its_base_is_a_path_that_the_simulator_serves(name: str, stream: bool) -> None:
    dialect = DIALECTS[name]
    request = dialect.build(Generation((HELLO,)), endpoint_for(dialect), stream=stream)
    path = unquote((BASES[name] + request.path).partition("?")[0])
    asked = endpoint_for(dialect).upstream_model
    assert path in {one.replace("{model}", asked) for wire in WIRE_FORMATS for one in wire.paths}
