"""The HTTP door's routes under /api/v1 and /v1, and what unknown paths and APIs that we don't offer get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from eurouter.v1 import catalog_pb2

from service import wire
from service.api.catalog import CatalogHandler
from service.domain.errors import Reason, ServiceError, invalid
from service.edge import http_errors
from service.edge.calls import REQUEST_ID, request_id_of
from service.edge.http_calls import HttpCalls
from service.edge.http_chat import HttpChat

PREFIXES: Final = ("/api/v1", "/v1")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NOT_OFFERED: Final[dict[str, str]] = {
    "embeddings": "Embeddings",
    "messages": "Anthropic's Messages (inbound)",
    "batches": "Batches",
    "conversations": "Conversations",
    "realtime": "Realtime",
    "completions": "the legacy Completions",
    "responses": "Responses",
    "images": "Images",
    "audio": "Audio",
    "files": "Files",
    "uploads": "Uploads",
    "moderations": "Moderations",
    "assistants": "Assistants",
    "threads": "Threads",
    "vector_stores": "Vector stores",
    "fine_tuning": "Fine-tuning",
    "evals": "Evals",
    "containers": "Containers",
    "videos": "Videos",
}
"""First path segments of APIs that OpenAI-style clients ask for and this service does not have."""


@dataclass(frozen=True, slots=True)
class HttpApp:
    """What the routes need."""

    wrap: HttpCalls
    chat: HttpChat
    catalog: CatalogHandler

    def build(self, max_body_bytes: int) -> web.Application:
        """The aiohttp application. Bodies above `max_body_bytes` get 413."""
        app = web.Application(client_max_size=max_body_bytes, middlewares=[_json_errors])
        chat = self.wrap.route("chat/completions", self.chat.create)
        for prefix in PREFIXES:
            app.router.add_post(f"{prefix}/chat/completions", chat)
            app.router.add_get(f"{prefix}/models", self._public(self._models))
            app.router.add_get(f"{prefix}/models/{{id:.+}}", self._public(self._model))
            app.router.add_get(f"{prefix}/providers", self._public(self._providers))
        return app

    def _public(self, body: Callable[[web.Request], object]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            request_id = request_id_of(request.headers)
            try:
                shown = body(request)
            except ServiceError as error:
                return http_errors.answer(error, request_id, request.path)
            return web.Response(
                body=orjson.dumps(shown), content_type="application/json", headers={REQUEST_ID: request_id}
            )

        return handle

    def _models(self, request: web.Request) -> object:
        query = request.query
        page = self.catalog.list_models(
            catalog_pb2.ListModelsRequest(
                category=query.get("category"),
                provider=query.get("provider"),
                supported_parameters=[p for p in query.get("supported_parameters", "").split(",") if p],
                page_size=_page_size(query.get("page_size")),
                page_token=query.get("page_token", ""),
            )
        )
        # OpenAI's list shape: its clients read `data`.
        shown: dict[str, object] = {"object": "list", "data": [wire.render(model) for model in page.models]}
        if page.next_page_token:
            shown["next_page_token"] = page.next_page_token
        return shown

    def _model(self, request: web.Request) -> object:
        return wire.render(self.catalog.get_model(catalog_pb2.GetModelRequest(id=request.match_info["id"])))

    def _providers(self, _request: web.Request) -> object:
        found = self.catalog.list_providers(catalog_pb2.ListProvidersRequest())
        return {"object": "list", "data": [wire.render(provider) for provider in found.providers]}


def _page_size(given: str | None) -> int:
    if given is None:
        return 1000
    try:
        return int(given)
    except ValueError:
        raise invalid("page_size", f"must be a number from 1 to 1000; got {given[:20]!r}") from None


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns aiohttp's own 404, 405 and 413 into our JSON."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _answer(request, _unknown_path(request))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.method} is not possible here: use {allowed}"
        shown = _answer(request, ServiceError(Reason.ROUTE_NOT_FOUND, message))
        shown.set_status(405)
        shown.headers["allow"] = allowed
        return shown


def _unknown_path(request: web.Request) -> ServiceError:
    base = f"{request.scheme}://{request.host}/v1"
    path = request.path.strip("/")
    for prefix in PREFIXES:
        inner = path.removeprefix(prefix.strip("/")).strip("/")
        first = inner.split("/", 1)[0]
        if first in NOT_OFFERED and inner != path:
            message = f"{NOT_OFFERED[first]} API: not offered by this service; see GET {base}/models for what is"
            return ServiceError(Reason.API_NOT_OFFERED, message)
    return ServiceError(
        Reason.ROUTE_NOT_FOUND, f"no such path: {request.path[:200]}; set the client's base URL to {base}"
    )


def _answer(request: web.Request, error: ServiceError) -> web.Response:
    return http_errors.answer(error, request_id_of(request.headers), request.path)
