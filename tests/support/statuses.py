"""Reads what a failed RPC tells: google.rpc details and trailers."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

Detail = TypeVar("Detail", bound=Message)


def trailers_of(error: aio.AioRpcError) -> dict[str, str | bytes]:
    """Trailing metadata by name."""
    return dict(error.trailing_metadata())


def status_of(error: aio.AioRpcError | dict[str, str | bytes]) -> Status:
    """The rich status; a failed test when the trailers have none."""
    found = (error if isinstance(error, dict) else trailers_of(error)).get("grpc-status-details-bin")
    assert isinstance(found, bytes), f"no google.rpc.Status came with {error}"
    return Status.FromString(found)


def detail_of(status: Status, kind: type[Detail]) -> Detail | None:
    """The first detail of that kind."""
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def info_of(error: aio.AioRpcError) -> ErrorInfo:
    """ErrorInfo, which every failure of ours has."""
    found = detail_of(status_of(error), ErrorInfo)
    assert found is not None
    assert isinstance(found, ErrorInfo)
    return found


def reason_of(error: aio.AioRpcError) -> str:
    """The reason's name."""
    return str(info_of(error).reason)


def fields_of(error: aio.AioRpcError) -> dict[str, str]:
    """The wrong fields: path to description."""
    found = detail_of(status_of(error), BadRequest)
    return {v.field: v.description for v in found.field_violations} if found is not None else {}


def retry_delay_of(error: aio.AioRpcError) -> float | None:
    """RetryInfo's seconds, None without it."""
    found = detail_of(status_of(error), RetryInfo)
    return None if found is None else found.retry_delay.seconds + found.retry_delay.nanos / 1e9
