"""The registry of dialects and the contract's list name the same dialects: neither can forget one."""

from adapters.providers.registry import DIALECTS
from tests.contract import dialects


def test_every_registered_dialect_is_held_to_the_contract() -> None:
    assert {sample.name: sample.dialect for sample in dialects.DIALECTS} == dict(DIALECTS)


def test_a_dialect_is_registered_under_its_own_name() -> None:
    assert all(name == dialect.name for name, dialect in DIALECTS.items())
