"""The HTTP door's routes under /api/v1 and /v1, and what unknown paths and APIs that we don't offer get."""

from __future__ import annotations

import re
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
from service.edge.http_calls import HttpCall, HttpCalls
from service.edge.http_chat import HttpChat
from service.edge.http_jobs import HttpDeadLetters, HttpJobs
from service.edge.http_responses import HttpResponses

PREFIXES: Final = ("/api/v1", "/v1")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_PAGE: Final = 1000
_HOST: Final = re.compile(r"[A-Za-z0-9.\-:\[\]]+")

NOT_OFFERED: Final[dict[str, str]] = {
    "embeddings": "Embeddings",
    "messages": "Anthropic's Messages (inbound)",
    "batches": "Batches",
    "conversations": "Conversations",
    "realtime": "Realtime",
    "completions": "the legacy Completions",
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

_NOT_RESPONSES: Final = {"responses/compact": "Compaction", "responses/input_tokens": "Input tokens"}
"""The same for paths that would otherwise be taken for the id of a response."""


@dataclass(frozen=True, slots=True)
class HttpApp:
    """What the routes need."""

    wrap: HttpCalls
    chat: HttpChat
    responses: HttpResponses
    catalog: CatalogHandler
    jobs: HttpJobs
    letters: HttpDeadLetters

    def build(self, max_body_bytes: int) -> web.Application:
        """The aiohttp application. Bodies above `max_body_bytes` get 413."""
        app = web.Application(client_max_size=max_body_bytes, middlewares=[_json_errors])
        chat = self.wrap.route("chat/completions", self.chat.create, asks=True)
        methods = (*self._responses(), *self._jobs())
        models = self._public("models", self._models)
        model = self._public("models/{id}", self._model)
        providers = self._public("providers", self._providers)
        for prefix in PREFIXES:
            app.router.add_post(f"{prefix}/chat/completions", chat)
            for method, path, handler in methods:
                app.router.add_route(method, f"{prefix}/{path}", handler)
            app.router.add_get(f"{prefix}/models", models)
            app.router.add_get(f"{prefix}/models/{{id:.+}}", model)
            app.router.add_get(f"{prefix}/providers", providers)
        return app

    def _responses(self) -> tuple[tuple[str, str, Handler], ...]:
        shown = self.responses
        routes = (
            ("GET", "responses/{id}", "responses.get", shown.get),
            ("DELETE", "responses/{id}", "responses.delete", shown.delete),
            ("POST", "responses/{id}/cancel", "responses.cancel", shown.cancel),
            ("GET", "responses/{id}/input_items", "responses.input_items", shown.input_items),
        )
        create = self.wrap.route("responses.create", shown.create, asks=True)
        others = ((method, path, self.wrap.route(name, body)) for method, path, name, body in routes)
        return (("POST", "responses", create), *others)

    def _jobs(self) -> tuple[tuple[str, str, Handler], ...]:
        routes = (
            ("GET", "jobs", "jobs.list", self.jobs.list_jobs),
            ("POST", "jobs/cancel", "jobs.cancel", self.jobs.cancel_jobs),
            ("GET", "jobs/stats", "jobs.stats", self.jobs.queue_stats),
            ("GET", "dead-letters", "dead_letters.list", self.letters.list_dead_letters),
            ("POST", "dead-letters/redrive", "dead_letters.redrive", self.letters.redrive_dead_letters),
        )
        return tuple((method, path, self.wrap.route(name, body)) for method, path, name, body in routes)

    def _public(self, name: str, show: Callable[[web.Request], object]) -> Handler:
        async def body(http: HttpCall) -> web.StreamResponse:
            shown = orjson.dumps(show(http.request))
            headers = {REQUEST_ID: http.call.request_id}
            return web.Response(body=shown, content_type="application/json", headers=headers)

        return self.wrap.route(name, body, public=True)

    def _models(self, request: web.Request) -> object:
        asked = catalog_pb2.ListModelsRequest(
            category=_text(request, "category"),
            provider=_text(request, "provider"),
            supported_parameters=_names(request, "supported_parameters"),
            page_size=_page_size(request.query.get("page_size")),
            page_token=_text(request, "page_token"),
        )
        page = self.catalog.list_models(asked)
        data = [wire.render(model) for model in page.models]
        if "page_size" not in request.query:
            # OpenAI's clients know no pages.
            while page.next_page_token:
                asked.page_token = page.next_page_token
                page = self.catalog.list_models(asked)
                data += [wire.render(model) for model in page.models]
        # OpenAI's list shape: its clients read `data`.
        shown: dict[str, object] = {"object": "list", "data": data}
        if page.next_page_token:
            shown["next_page_token"] = page.next_page_token
        return shown

    def _model(self, request: web.Request) -> object:
        model_id = _encodable("id", request.match_info["id"])
        return wire.render(self.catalog.get_model(catalog_pb2.GetModelRequest(id=model_id)))

    def _providers(self, _request: web.Request) -> object:
        found = self.catalog.list_providers(catalog_pb2.ListProvidersRequest())
        return {"object": "list", "data": [wire.render(provider) for provider in found.providers]}


def _text(request: web.Request, name: str) -> str:
    return _encodable(name, request.query.get(name, ""))


def _names(request: web.Request, name: str) -> list[str]:
    """The values of a parameter that may be repeated, each with one name or several between commas."""
    given = ",".join(request.query.getall(name, ())).split(",")
    return [_encodable(name, each.strip()) for each in given if each.strip()]


def _encodable(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(name, "must be UTF-8, percent-encoded") from None
    return text


def _page_size(given: str | None) -> int:
    if given is None:
        return _MAX_PAGE
    if not re.fullmatch("[0-9]{1,4}", given) or not 1 <= int(given) <= _MAX_PAGE:
        raise invalid("page_size", f"must be a number from 1 to {_MAX_PAGE}; got {given[:20]!r}")
    return int(given)


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns aiohttp's own 404, 405 and 413 into our JSON."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _answer(request, _unknown_path(request))
    except web.HTTPMethodNotAllowed as error:
        if (missing := _not_offered(request)) is not None:
            return _answer(request, missing)
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.method} is not possible here: use {allowed}"
        shown = _answer(request, ServiceError(Reason.ROUTE_NOT_FOUND, message, code="method_not_supported"))
        shown.set_status(405)
        shown.headers["allow"] = allowed
        return shown


def _unknown_path(request: web.Request) -> ServiceError:
    return _not_offered(request) or ServiceError(
        Reason.ROUTE_NOT_FOUND,
        f"no such path: {request.path[:200]}; set the client's base URL to {_base(request)}",
    )


def _not_offered(request: web.Request) -> ServiceError | None:
    path = request.path.strip("/")
    for prefix in PREFIXES:
        inner = path.removeprefix(prefix.strip("/")).strip("/")
        name = NOT_OFFERED.get(inner.split("/", 1)[0]) or _NOT_RESPONSES.get(inner)
        if name is not None and inner != path:
            message = f"{name} API: not offered by this service; see GET {_base(request)}/models for what is"
            return ServiceError(Reason.API_NOT_OFFERED, message)
    return None


def _base(request: web.Request) -> str:
    # What isn't a host is not shown: it may be any bytes.
    host = request.host if _HOST.fullmatch(request.host) else "HOST"
    return f"{request.scheme}://{host}/v1"


def _answer(request: web.Request, error: ServiceError) -> web.Response:
    return http_errors.answer(error, request_id_of(request.headers), request.path)
