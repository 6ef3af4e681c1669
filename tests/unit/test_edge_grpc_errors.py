"""Errors as gRPC trailers: the catalogue's codes, the details, and their size in any script."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import grpc
import pytest
from eurouter.v1 import errors_pb2
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from service.domain.errors import ERRORS, Reason, ServiceError, Violation
from service.edge.grpc_errors import status_code, status_message, trailers
from tests.support.parts import ROOT
from tests.support.statuses import detail_of, status_of

PROTO = (ROOT / "protos" / "eurouter" / "v1" / "errors.proto").read_text()
SCRIPTS = {"latin": "x", "percent": "%", "greek": "λ", "chinese": "路", "emoji": "🛤", "controls": "\n"}


def wire_size(error: ServiceError) -> int:
    """The trailers as HTTP/2 counts them against the limit: names, values and 32 bytes for each."""
    pairs: list[tuple[str, str | bytes]] = [
        *trailers(error, "r" * 128),
        ("x-request-id", "r" * 128),
        ("grpc-status", "14"),
        ("grpc-message", quote(status_message(error), safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}")),
        ("content-type", "application/grpc"),
    ]
    sizes = [len(base64.b64encode(v)) if isinstance(v, bytes) else len(v.encode()) for _, v in pairs]
    return sum(len(name) + 32 for name, _ in pairs) + sum(sizes)


def made(error: ServiceError) -> Status:
    return status_of(dict(trailers(error, "req-1")))


def test_the_enum_of_the_protobuf_contract_is_the_catalogue_of_reasons() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == {reason.value for reason in Reason} == {reason.value for reason in ERRORS}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_the_codes_that_its_comment_in_the_contract_names(reason: Reason) -> None:
    found = re.search(rf"((?:  //[^\n]*\n)+)  ERROR_REASON_{reason.value} = ", PROTO)
    assert found is not None
    codes = re.search(r"([A-Z_]+), (\d{3})(?: \([^)]*\))?\.\s*$", found[1].replace("\n  //", " "))
    assert codes is not None, found[1]
    spec = ERRORS[reason]
    assert (spec.grpc, spec.http) == (codes[1], int(codes[2]))
    assert status_code(ServiceError(reason, "")) is grpc.StatusCode[codes[1]]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("endpoints", [0, 1, 12, 50])
def test_the_trailers_stay_below_8_kib_whatever_a_provider_says(script: str, endpoints: int) -> None:
    long = SCRIPTS[script] * 100_000
    error = ServiceError(
        Reason.PROVIDER_RATE_LIMITED,
        long,
        violations=tuple(Violation(f"messages[{n}].{long[:400]}", long) for n in range(10)),
        retry_after=12.5,
        endpoints=tuple((f"provider-{n}/model-{n}", long) for n in range(endpoints)),
        code=long,
        param=long,
        decision=tuple((f"x-routing-header-{n}", "v" * 40) for n in range(8)),
    )
    assert wire_size(error) <= 8192
    status = made(error)
    assert status.message.endswith("…")
    assert status.message[:50] == long[:50]
    info = detail_of(made(error), error_details_pb2.ErrorInfo)
    assert info is not None
    listed = [name for name in info.metadata if name.startswith("endpoint.")]
    left_out = int(info.metadata.get("endpoints_left_out", "0"))
    assert len(listed) + left_out == endpoints
    assert detail_of(made(error), error_details_pb2.RetryInfo) is not None
    assert detail_of(made(error), error_details_pb2.BadRequest) is not None


@pytest.mark.parametrize(("endpoints", "listed_at_least"), [(50, 50), (200, 40)])
def test_of_many_endpoints_those_that_fit_are_listed_and_the_rest_is_counted(
    endpoints: int, listed_at_least: int
) -> None:
    rows = tuple((f"provider-{n}/vendor-model", "timeout: silent for 5 s") for n in range(endpoints))
    error = ServiceError(Reason.PROVIDER_UNAVAILABLE, "every attempt failed", endpoints=rows)
    info = detail_of(made(error), error_details_pb2.ErrorInfo)
    assert info is not None
    listed = {name: text for name, text in info.metadata.items() if name.startswith("endpoint.")}
    assert listed.items() <= {f"endpoint.{name}": text for name, text in rows}.items()
    assert len(listed) >= listed_at_least
    assert int(info.metadata.get("endpoints_left_out", "0")) == endpoints - len(listed)


def test_all_details_of_an_ordinary_error_are_there_in_full() -> None:
    error = ServiceError(
        Reason.INVALID_REQUEST,
        "top_p: must be 0 to 1",
        violations=(Violation("top_p", "must be 0 to 1"), Violation("messages[0].content", "must not be empty")),
    )
    info, fields = (
        detail_of(made(error), error_details_pb2.ErrorInfo),
        detail_of(made(error), error_details_pb2.BadRequest),
    )
    assert info is not None
    assert fields is not None
    assert (info.domain, info.reason) == ("eurouter.dev", "INVALID_REQUEST")
    assert dict(info.metadata) == {"request_id": "req-1", "code": "invalid_value"}
    assert [(v.field, v.description) for v in fields.field_violations] == [
        ("top_p", "must be 0 to 1"),
        ("messages[0].content", "must not be empty"),
    ]
    assert made(error).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize(
    ("error", "pushback", "retry"),
    [
        (ServiceError(Reason.PROVIDER_RATE_LIMITED, "slow down", retry_after=1.5), "1500", "true"),
        (ServiceError(Reason.PROVIDER_RATE_LIMITED, "slow down"), "-1", "false"),
        (ServiceError(Reason.PROVIDER_UNAVAILABLE, "down"), "-1", "false"),
        (ServiceError(Reason.NO_ENDPOINT_AVAILABLE, "cooling", retry_after=30), "30000", "true"),
        (ServiceError(Reason.SHUTTING_DOWN, "bye"), "0", "true"),
        (ServiceError(Reason.OVERLOADED, "full", retry_after=1), "1000", "true"),
        (ServiceError(Reason.INVALID_REQUEST, "no", retry_after=1), "-1", "false"),
    ],
)
def test_pushback_says_when_to_send_again_or_that_it_must_not_be(
    error: ServiceError, pushback: str, retry: str
) -> None:
    found = dict(trailers(error, "req-1"))
    assert found["grpc-retry-pushback-ms"] == pushback
    assert found["x-should-retry"] == retry


@pytest.mark.parametrize(
    ("message", "shown"),
    [("größer als 32 MiB: 路由", "größer als 32 MiB: 路由"), ("a\ud800b", "a?b"), ("100 % sure", "100 % sure")],
)
def test_a_message_in_any_script_arrives_as_it_is(message: str, shown: str) -> None:
    error = ServiceError(Reason.PROVIDER_REJECTED, message)
    assert status_message(error) == shown
    assert made(error).message == shown
