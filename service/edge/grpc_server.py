"""The gRPC listener: options that fit Kubernetes, health, reflection, TLS, and a drain in stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.edge.grpc_services import SERVICE_NAMES
from service.edge.tls import TlsFiles, grpc_credentials

_SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Where and how to listen. Times in seconds, sizes in bytes; port 0 takes a free one.

    `max_connection_age` closes connections gently so that clients spread over new pods (gRPC adds 10 %
    jitter itself), `max_connection_age_grace` lets long streams finish. `min_ping_interval` is how often a
    client may ping, calls or not.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    max_message_bytes: int = 32 * 1024 * 1024
    max_concurrent_streams: int = 1000
    max_connection_age: float = 1800.0
    max_connection_age_grace: float = 3600.0
    min_ping_interval: float = 10.0
    share_port: bool = False
    tls: TlsFiles | None = None

    def arguments(self) -> list[tuple[str, Any]]:
        """gRPC core's channel arguments."""
        # A ping that comes a little early over a jittery network is no strike.
        ping_ms = int(self.min_ping_interval * 900)
        return [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_concurrent_streams", self.max_concurrent_streams),
            ("grpc.max_connection_age_ms", int(self.max_connection_age * 1000)),
            ("grpc.max_connection_age_grace_ms", int(self.max_connection_age_grace * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", ping_ms),
            ("grpc.http2.min_ping_interval_without_data_ms", ping_ms),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.so_reuseport", 1 if self.share_port else 0),
        ]


class GrpcServer:
    """One listener. `start`, then `stop_serving` (health says so), then `stop`."""

    def __init__(self, options: GrpcOptions, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._options = options
        self._server = aio.server(options=options.arguments())
        self._health = health.aio.HealthServicer()
        self._server.add_generic_rpc_handlers(tuple(handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = 0

    async def start(self) -> None:
        """Listens.

        Raises:
            OSError: the address is taken or can't be bound.
        """
        address = f"{self._options.host}:{self._options.port}"
        try:
            if self._options.tls is not None:
                self.port = self._server.add_secure_port(address, grpc_credentials(self._options.tls))
            else:
                self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"gRPC can't listen on {address}: is the port taken?") from error
        await self._server.start()
        for name in SERVICE_NAMES:
            await self._health.set(name, _SERVING)

    async def stop_serving(self) -> None:
        """Tells health watchers that this process takes no new calls; connections stay."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Sends GOAWAY, refuses new calls, lets the running ones finish for `grace` seconds, then cancels them."""
        await self._server.stop(grace)
