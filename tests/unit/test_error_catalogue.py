"""The error catalogue, its protobuf enum and its page say the same."""

from __future__ import annotations

import re

import grpc
import pytest
from eurouter.v1 import errors_pb2

from service.domain.errors import ERRORS, Reason, ServiceError
from service.domain.failure import REASONS, FailureKind
from service.edge.errors_document import PAGE, PROTO, page
from tests.support.parts import ROOT


def test_the_protobuf_enum_has_exactly_the_reasons() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in dict(errors_pb2.ErrorReason.items())}
    assert names - {"UNSPECIFIED"} == {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_row_whose_codes_its_protobuf_comment_repeats(reason: Reason) -> None:
    spec = ERRORS[reason]
    assert spec.grpc in grpc.StatusCode.__members__
    proto = (ROOT / PROTO).read_text()
    before = proto[: proto.index(f"ERROR_REASON_{reason.value} =")].rstrip()
    comment = re.sub(r"\s*\n\s*//\s*", " ", before[before.rindex(";") if ";" in before else 0 :])
    assert f"{spec.grpc}, {spec.http}" in comment


def test_every_kind_of_failure_ends_in_a_reason_and_none_in_the_callers_unauthenticated() -> None:
    assert set(REASONS) == set(FailureKind)
    assert Reason.INVALID_KEY not in REASONS.values()


def test_a_retry_is_allowed_only_with_a_time_or_when_another_process_answers() -> None:
    assert not ServiceError(Reason.PROVIDER_UNAVAILABLE, "down").may_retry
    assert ServiceError(Reason.PROVIDER_RATE_LIMITED, "slow", retry_after=2.0).may_retry
    assert not ServiceError(Reason.INVALID_REQUEST, "wrong", retry_after=2.0).may_retry
    assert ServiceError(Reason.SHUTTING_DOWN, "bye").may_retry


def test_the_page_on_errors_is_current(update_golden: bool) -> None:
    fresh = page((ROOT / PROTO).read_text())
    if update_golden:
        (ROOT / PAGE).write_text(fresh)
    assert (ROOT / PAGE).read_text() == fresh
