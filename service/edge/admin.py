"""The admin port: probes for whoever runs the process, and its metrics. It asks for no key and shows no content.

What is ready and what is wrong is decided by others: here it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from service.edge.http_server import HttpOptions, HttpServer


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes say: one sentence for each reason not to be ready, and for each other thing that is wrong.

    `begun`: everything that is needed to begin was there once.
    """

    not_ready: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    begun: bool = True

    @property
    def text(self) -> str:
        """The answer of /readyz: a first line that says it all, or one line for each reason."""
        lines = [f"not ready: {line}" for line in self.not_ready] or ["ready"]
        return "".join(f"{line}\n" for line in (*lines, *(f"degraded: {line}" for line in self.degraded)))


class Admin:
    """The listener through a process's whole life. `health` and `metrics` may be replaced when another part of it
    knows them."""

    def __init__(self, options: HttpOptions, health: Callable[[], Health], metrics: Callable[[], bytes]) -> None:
        self.options = options
        self.health = health
        self.metrics = metrics
        self.server = HttpServer(_app(self), options)


def _app(admin: Admin) -> web.Application:
    """GET /livez, /readyz and /startedz, one line each or several, and /metrics in Prometheus' text format.

    /livez answers when the event loop does: how long that takes is what a probe's time limit judges.
    """

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        health = admin.health()
        return web.Response(status=503 if health.not_ready else 200, text=health.text)

    async def startedz(_request: web.Request) -> web.Response:
        health = admin.health()
        return web.Response(text="started\n") if health.begun else web.Response(status=503, text=health.text)

    async def show_metrics(_request: web.Request) -> web.Response:
        shown = admin.metrics()
        return web.Response(body=shown, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/startedz", startedz)
    app.router.add_get("/metrics", show_metrics)
    return app
