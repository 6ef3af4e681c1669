"""The simulator's HTTP server: which script a call gets, the journal, control over HTTP. Loopback only."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import time
from collections import deque
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiohttp import web

from . import anthropic, model_names, openai_chat
from .busy import Busy
from .control import script_from_json
from .formats import WIRE_FORMATS
from .journal import Call, Entry, Journal
from .obedient import Obedient
from .playback import Performance
from .script import Reason, Script
from .wire import Asked, Encoded, Form, Whole, WireFormat

if TYPE_CHECKING:
    from asyncio import BaseProtocol
    from collections.abc import Callable, Sequence
    from types import TracebackType

LABEL = "This is a simulator: no model runs here, every answer is scripted."

_CALLS_ID = "x-request-id"
_BODY_LIMIT = 64 * 1024 * 1024
_SHUTDOWN_SECONDS = 0.1


class Simulator:
    """A provider that answers by script.

    Which script a call gets, first match: one enqueued for its model, one enqueued for any model, the model's
    default, the script that its name spells (`model_names`), the general default, a sentence that labels it.

    Use as `async with Simulator() as simulator`; `simulator.url` has no path (base URLs add `/v1`).
    `calls_kept` bounds the journal. Raises ValueError when `host` is not a loopback address.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        calls_kept: int = 1000,
        wire_formats: Sequence[WireFormat] = WIRE_FORMATS,
    ) -> None:
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"host: {host} is not a loopback address; the simulator listens nowhere else")
        self._host = host
        self._port = port
        self._journal = Journal(calls_kept)
        self._wire_formats = tuple(wire_formats)
        self._queues: dict[str | None, deque[Script]] = {}
        self._defaults: dict[str | None, Script] = {}
        self._id_prefix = f"sim{secrets.token_hex(4)}"
        self._obedient = Obedient()
        self._busy_calls = Busy()
        self._answers = 0
        self._closing = False
        self._busy: set[BaseProtocol] = set()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, known once it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def port(self) -> int:
        """The port, known once it listens."""
        return self._port

    @property
    def calls(self) -> tuple[Call, ...]:
        """The journal, oldest call first: frozen records of how things stand now."""
        return self._journal.calls()

    def script(self, script: Script | None, model: str | None = None) -> None:
        """Sets a default for a model, or for every model that has none and spells none; None removes it."""
        if script is None:
            self._defaults.pop(model, None)
        else:
            self._defaults[model] = script

    def enqueue(self, *scripts: Script, model: str | None = None) -> None:
        """Adds scripts that each answer one call, in this order; without a model, a call to any."""
        self._queues.setdefault(model, deque()).extend(scripts)

    def forget_scripts(self) -> None:
        """Empties the queues and removes the defaults; who was refused as busy begins anew."""
        self._busy_calls.forget()
        self._queues.clear()
        self._defaults.clear()

    def forget_calls(self) -> None:
        """Empties the journal."""
        self._journal.clear()

    async def wait_for(
        self, condition: Callable[[tuple[Call, ...]], bool], timeout: float = 30.0
    ) -> tuple[Call, ...]:
        """The journal once the condition holds; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not condition(calls := self.calls):  # noqa: ASYNC110 - calls end in several places, none signals
                await asyncio.sleep(0.002)
        return calls

    async def start(self) -> None:
        """Listens. OSError when the port is taken."""
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.on_response_prepare.append(_label)
        self._route(app.router)
        self._closing = False
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            handle_signals=False,
        )
        await self._runner.setup()
        await self.accept_connections()

    async def stop(self) -> None:
        """Stops listening and drops what is under way."""
        self._closing = True
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = self._site = None

    async def refuse_connections(self) -> None:
        """Closes the listener and idle connections: the next connect is refused. Calls under way go on."""
        if self._runner is None or self._site is None:
            return
        await self._site.stop()
        self._site = None
        server = self._runner.server
        for connection in list(server.connections) if server is not None else []:
            if connection in self._busy:
                connection.close()
            else:
                connection.force_close()
        # The sockets close at the loop's next turn; a client in this loop needs one more to hear of it.
        await asyncio.sleep(0.01)

    async def accept_connections(self) -> None:
        """Listens (again) on the same port."""
        if self._runner is None:
            raise RuntimeError("start the simulator first")
        if self._site is not None:
            return
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024)
        await site.start()
        self._site = site
        self._port = self._runner.addresses[0][1]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _route(self, router: web.UrlDispatcher) -> None:
        for wire in self._wire_formats:
            for path in wire.paths:
                router.add_post(path, self._answerer(wire))
        router.add_get("/", self._index)
        router.add_get("/v1/models", self._models)
        router.add_get("/models", self._models)
        router.add_get("/simulator/calls", self._list_calls)
        router.add_delete("/simulator/calls", self._delete_calls)
        router.add_put("/simulator/script", self._put_script)
        router.add_delete("/simulator/script", self._delete_scripts)
        router.add_route("*", "/{rest:.*}", self._unknown)

    def _answerer(self, wire: WireFormat) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            entry = self._journal.open(request.method, request.path, request.headers)
            self._busy.add(request.protocol)
            try:
                return await self._answer(wire, request, entry)
            except (asyncio.CancelledError, ConnectionError):
                entry.cancelled = not (self._closing or entry.hung_up)
                raise
            finally:
                self._busy.discard(request.protocol)
                entry.end()

        return answer

    async def _answer(self, wire: WireFormat, request: web.Request, entry: Entry) -> web.StreamResponse:
        try:
            entry.body = orjson.loads(await request.read())
            if not isinstance(entry.body, dict):
                raise ValueError("the body must be a JSON object")  # noqa: TRY004 - one kind for bad input
            asked = wire.read(request.path, request.match_info, entry.body)
            entry.model = asked.form.model
            script = self._choose(asked)
            script = self._busy_calls.script(script, asked)
            own = script.echo or script.obey
            if script.obey:
                script = self._obedient.script(script, entry.body)
            spoken = _spoken(script, asked, request.headers.get(_CALLS_ID, ""))
            encoded = (_encode.__wrapped__ if own else _encode)(wire, spoken, asked.form)
        except ValueError as error:
            entry.status = 400
            body = wire.error(400, Reason.INVALID_REQUEST, f"Simulator: {error}")
            return web.Response(status=400, body=body, content_type="application/json")
        self._answers += 1
        answer_id = f"{self._id_prefix}{self._answers:021d}"
        stamp = wire.stamp(answer_id, int(time.time()), stream=asked.form.stream)
        headers = {wire.request_id_header: f"req_{answer_id}"}
        performance = Performance(request, entry, wire, script, headers, stamp)
        if isinstance(encoded, Encoded):
            return await performance.stream(encoded)
        return await performance.whole(encoded)

    def _choose(self, asked: Asked) -> Script:
        model = asked.form.model
        for key in (model, None):
            queue = self._queues.get(key)
            if queue:
                return queue.popleft()
        default = self._defaults.get(model)
        return default or model_names.script_of(model) or self._defaults.get(None) or _LABELLED

    async def _index(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(text=f"{LABEL}\n\n{model_names.__doc__}")

    async def _models(self, request: web.Request) -> web.Response:
        entry = self._journal.open(request.method, request.path, request.headers)
        names = [
            *model_names.EXAMPLES,
            *(name for name in {*self._defaults, *self._queues} if name is not None),
        ]
        listed = anthropic.models(names) if "anthropic-version" in request.headers else openai_chat.models(names)
        entry.status, entry.finished = 200, True
        entry.end()
        return _json(200, listed)

    async def _list_calls(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _json(200, {"calls": [call.as_json() for call in self.calls]})

    async def _delete_calls(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self.forget_calls()
        return web.Response(status=204)

    async def _put_script(self, request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            if (
                not isinstance(body, dict)
                or not body.keys() <= {"script", "model", "once"}
                or "script" not in body
            ):
                raise ValueError(
                    'the body must be {"script": {…} or null, "model": "…" or null, "once": true or false}'
                )
            model, once = body.get("model"), body.get("once", False)
            if not isinstance(model, str | None) or not isinstance(once, bool):
                raise ValueError("model: a string or null; once: true or false")  # noqa: TRY004 - as above
            script = None if body["script"] is None else script_from_json(body["script"])
            if once and script is None:
                raise ValueError("script: null removes a default; it can't be enqueued")
        except ValueError as error:
            return _json(400, {"error": {"message": str(error), "type": "invalid_request_error"}})
        if once and script is not None:
            self.enqueue(script, model=model)
        else:
            self.script(script, model=model)
        return web.Response(status=204)

    async def _delete_scripts(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self.forget_scripts()
        return web.Response(status=204)

    async def _unknown(self, request: web.Request) -> web.Response:
        entry = self._journal.open(request.method, request.path, request.headers)
        entry.status, entry.finished = 404, True
        entry.end()
        message = f"The simulator has no {request.method} {request.path}; GET / says what it has."
        return _json(
            404, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        )


_LABELLED = Script()


@lru_cache(maxsize=256)
def _encode(wire: WireFormat, script: Script, form: Form) -> Encoded | Whole:
    return wire.stream(script, form) if form.stream else wire.whole(script, form)


def _spoken(script: Script, asked: Asked, call_id: str) -> Script:
    if not script.echo:
        return script
    return replace(script, echo=False, text=asked.last_user.replace(f"{{{_CALLS_ID}}}", call_id))


async def _label(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001
    response.headers["x-simulator"] = "true"


def _json(status: int, body: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
