"""Every RPC that a proto declares is served, and every service is known to health and reflection."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc import aio
from grpc_health.v1 import health_pb2

from service.edge.grpc_services import SERVICE_NAMES
from tests.support.parts import ROOT
from tests.support.running import running_service


def services() -> list[ServiceDescriptor]:
    """Every service of every proto."""
    modules = [
        import_module(f"eurouter.v1.{path.stem}_pb2") for path in (ROOT / "protos/eurouter/v1").glob("*.proto")
    ]
    return [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]


async def call(channel: aio.Channel, method: MethodDescriptor, request: bytes) -> aio.AioRpcError | None:
    """How a call with these bytes fails; None when it doesn't."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    # Without serialisers bytes go out and come in; the types have no word for that.
    start: Any = channel.unary_stream(path) if method.server_streaming else channel.unary_unary(path)
    try:
        if method.server_streaming:
            async for _ in start(request, timeout=10):
                pass
        else:
            await start(request, timeout=10)
    except aio.AioRpcError as error:
        return error
    return None


# A field that begins and never ends.
NO_MESSAGE: Final = b"\x0a\xff"


async def test_every_rpc_of_the_protos_is_served(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        for service in services():
            for method in service.methods:
                error = await call(up.channel, method, NO_MESSAGE)
                assert error is not None, method.full_name
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, method.full_name
                assert method.input_type.full_name in (error.details() or ""), method.full_name


async def test_every_service_of_the_protos_has_a_health_of_its_own(tmp_path: Path) -> None:
    assert {service.full_name for service in services()} == set(SERVICE_NAMES)
    async with running_service(tmp_path) as up:
        for name in SERVICE_NAMES:
            answer = await up.health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
