"""A listener for an aiohttp application: the HTTP door, and the admin port."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from service.domain import crash
from service.edge import log_events

# A burst of new connections should not be refused while the loop is busy.
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where to listen; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    share_port: bool = False
    tls: ssl.SSLContext | None = None


class HttpServer:
    """One listener. `stop_listening` refuses new connections, `stop` ends the rest."""

    def __init__(self, app: web.Application, options: HttpOptions) -> None:
        self._options = options
        app.on_response_prepare.append(_name_server)
        # Without handler_cancellation aiohttp lets a handler run on after its client left.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0, logger=_ContentFreeLog()
        )
        self._site: web.TCPSite | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens; does nothing where it does already.

        Raises:
            OSError: the address is taken or can't be bound.
        """
        if self._site is not None:
            return
        await self._runner.setup()
        options = self._options
        self._site = web.TCPSite(
            self._runner,
            options.host,
            options.port,
            ssl_context=options.tls,
            backlog=_BACKLOG,
            reuse_port=options.share_port or None,
        )
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def stop_listening(self) -> None:
        """Closes the listening socket; calls under way go on."""
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def stop(self) -> None:
        """Ends every connection."""
        await self._runner.cleanup()


class _ContentFreeLog:
    """Takes what aiohttp logs of requests that it can't read or answer: it quotes headers, keys among them."""

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()

    def debug(self, *_message: object, **_options: object) -> None:
        """Nothing that operators need."""

    def exception(self, _message: str, *_values: object, exc_info: BaseException | None = None) -> None:
        """A client that speaks no proper HTTP, or a fault of ours."""
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            self._log.info(log_events.HTTP_MALFORMED, error_type=type(exc_info).__name__)
        else:
            described = crash.describe(exc_info) if exc_info is not None else {}
            self._log.error(log_events.HTTP_CRASHED, **described)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["server"] = "eurouter"
