"""Spans below the sockets: the headers of traces, who is recorded, what a span keeps, its names, its settings."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes,
    messaging_attributes,
    rpc_attributes,
)
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas

from adapters import logs
from adapters.otlp.encode import SCHEMA, resource_of, spans_request
from adapters.otlp.opening import who
from adapters.otlp.spans import OtlpTracer, RecordedSpan
from adapters.providers import spans as exchange_spans
from adapters.providers.exchange import Exchange
from adapters.providers.faults import Bounds
from adapters.providers.secrets import Secrets
from service.attempt_spans import _KNOWN, address_of
from service.domain.catalog import Timeouts
from service.domain.errors import ERRORS, Reason
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.tracing import (
    Kind,
    Remote,
    Span,
    current,
    is_fault,
    remote_of,
    traceparent_of,
    unsampled,
)
from service.edge import grpc_services, spans
from service.edge.grpc_calls import full_name
from service.settings import Settings, SettingsError
from service.settings.show import problems
from tests.support.parts import ROOT

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def tracer(ratio: float = 1.0, *, trust: bool = True) -> tuple[OtlpTracer, list[RecordedSpan]]:
    over: list[RecordedSpan] = []
    return OtlpTracer(over.append, ratio=ratio, trust=trust), over


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_a_header_that_is_written_is_read_as_the_same_span(trace: int, span: int, flags: int) -> None:
    written = traceparent_of(f"{trace:032x}", f"{span:016x}", flags)
    assert remote_of(written) == Remote(f"{trace:032x}", f"{span:016x}", flags)
    assert remote_of(unsampled(written)) == Remote(f"{trace:032x}", f"{span:016x}", flags & 2)


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"),
        *(f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-x, 01-{TRACE}-{SPAN}-01-x"),
        *(f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-1"),
    ],
)
def test_a_malformed_header_names_no_span(given: str | None) -> None:
    assert remote_of(given, "a=b") is None


def test_a_trusted_caller_decides_and_of_the_rest_the_ratio_is_recorded() -> None:
    sampled, unsampled_ = Remote(TRACE, SPAN, 1), Remote(TRACE, SPAN, 0)
    never, always = tracer(0.0)[0], tracer(1.0)[0]
    assert (never.samples(sampled), always.samples(unsampled_)) == (True, False)
    assert (never.samples(None), always.samples(None)) == (False, True)
    strict, open_ = tracer(0.0, trust=False)[0], tracer(1.0, trust=False)[0]
    assert (strict.samples(sampled), open_.samples(unsampled_)) == (False, True)
    third = tracer(0.3)[0]
    assert 220 < sum(third.samples(None) for _ in range(1000)) < 380


def test_an_error_is_what_the_operator_or_a_provider_must_mend_and_no_rate_limit() -> None:
    errors = {reason for reason in Reason if is_fault(reason)}
    assert {ERRORS[reason].fault for reason in errors} == {"us", "provider"}
    others = {reason for reason in Reason if ERRORS[reason].fault in ("us", "provider")} - errors
    assert others == {Reason.PROVIDER_RATE_LIMITED}
    assert errors >= {Reason.PROVIDER_AUTH_FAILED, Reason.PROVIDER_MODEL_MISSING, Reason.PROVIDER_QUOTA_SPENT}
    assert not errors & {Reason.NO_ENDPOINT_ALLOWED, Reason.DEADLINE_EXCEEDED, Reason.CANCELLED}


def test_the_same_failure_is_the_same_at_both_doors() -> None:
    made, over = tracer()
    for reason in Reason:
        for door in ("grpc", "http"):
            span = made.start(door, Kind.SERVER, {})
            recorded = spans.CallSpan(span, current.set(span))
            if door == "grpc":
                spans.end_grpc(recorded, reason.value)
            else:
                spans.end_http(recorded, reason.value, ERRORS[reason].http)
        grpc, http = over[-2:]
        assert grpc.attributes["error.type"] == http.attributes["error.type"] == reason.value
        assert grpc.fault == http.fault == is_fault(reason), reason


def test_a_span_is_told_once_and_changes_no_more() -> None:
    made, over = tracer()
    span = made.start("a", Kind.SERVER, {"x": 1})
    span.end()
    ended = span.ended
    span.set("x", 2)
    span.event("late")
    span.fail("late")
    span.end()
    assert over == [span]
    assert (span.ended, span.attributes, span.events) == (ended, {"x": 1}, [])


def test_a_child_stands_in_its_parents_trace_and_begins_no_other() -> None:
    made, _ = tracer()
    top = made.start("a", Kind.SERVER, {}, parent=Remote(TRACE, SPAN, 1, "v=1"))
    below = top.child("b", Kind.CLIENT, {})
    assert (top.trace_id, top.parent_id, below.trace_id, below.parent_id) == (TRACE, SPAN, TRACE, top.span_id)
    assert below.tracestate == "v=1"
    assert remote_of(below.traceparent) == Remote(TRACE, below.span_id, 1)
    assert made.start("c", Kind.CONSUMER, {}, link=Remote(TRACE, SPAN)).trace_id != TRACE


def test_a_span_keeps_no_text_and_no_events_without_end() -> None:
    made, _ = tracer()
    span = made.start("a", Kind.SERVER, {"given": "x" * 5000})
    span.set("long", "x" * 5000)
    for _ in range(1000):
        span.event("e")
    below = span.child("b", Kind.CLIENT, {"given": "x" * 5000})
    assert len(str(span.attributes["long"])) == 1024
    assert len(str(span.attributes["given"])) == len(str(below.attributes["given"])) == 1024
    assert len(span.events) == 32


VALUES = st.one_of(st.text(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))


@given(st.dictionaries(st.text("abc.", min_size=1), VALUES, max_size=5))
def test_whatever_a_value_is_it_arrives_as_it_is(attributes: dict[str, Any]) -> None:
    made, over = tracer()
    made.start("a", Kind.INTERNAL, attributes).end()
    request = ExportTraceServiceRequest.FromString(spans_request(resource_of({}), "1", over))
    (arrived,) = request.resource_spans[0].scope_spans[0].spans
    found = {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in arrived.attributes}
    assert found == attributes


@pytest.mark.parametrize("raised", [asyncio.CancelledError(), UpstreamError(Failure(FailureKind.TIMEOUT, "late"))])
@pytest.mark.parametrize(("due_to", "due"), [("deadline", 0.0), ("deadline", 60.0), ("total", 0.0)])
async def test_an_exchange_that_its_callers_time_ended_says_so_whoever_noticed_it(
    raised: BaseException, due_to: Literal["total", "deadline"], due: float
) -> None:
    async def ends() -> Exchange:
        raise raised

    made, over = tracer()
    span = exchange_spans.begin(made.start("a", Kind.INTERNAL, {}), "http://h", "/p")
    bounds = Bounds("alpha", Timeouts(), asyncio.get_running_loop().time() + due, due_to)
    with pytest.raises(type(raised)):
        await exchange_spans.answered(span, ends(), bounds)
    otherwise = "timeout" if isinstance(raised, UpstreamError) else "cancelled"
    is_deadline = due_to == "deadline" and not due
    assert over[0].attributes["error.type"] == ("deadline" if is_deadline else otherwise)
    assert over[0].fault == (not is_deadline and otherwise == "timeout")


def test_a_text_that_no_utf_8_has_does_not_cost_its_batch() -> None:
    made, over = tracer()
    made.start("a", Kind.INTERNAL, {"x": "\ud800"}).end()
    assert b"?" in spans_request(resource_of({}), "1", over)


def test_every_name_is_one_of_the_conventions_or_ours() -> None:
    modules = (
        *(gen_ai_attributes, messaging_attributes, rpc_attributes),
        *(error_attributes, http_attributes, server_attributes, url_attributes),
    )
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    sources = (
        *("service/attempt_spans.py", "service/edge/spans.py", "service/edge/grpc_calls.py"),
        *("service/edge/http_calls.py", "service/edge/kafka/record_spans.py", "workers/relay_spans.py"),
        *("workers/run_spans.py", "adapters/providers/spans.py", "adapters/otlp/spans.py"),
    )
    used = set()
    for source in sources:
        text = (ROOT / source).read_text(encoding="utf-8")
        used |= set(re.findall(r'"((?:gen_ai|messaging|rpc|http|url|server|error|eurouter)\.[a-z_.]+)"', text))
    assert len(used) > 40
    assert {name for name in used if not name.startswith("eurouter.")} <= known
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert {name for name in used if not re.search(rf"`{re.escape(name)}[`=]", page)} == set()
    # The pinned package calls all of gen_ai.* moved: a reader must find where they are now.
    assert "https://github.com/open-telemetry/semantic-conventions-genai" in page
    assert Schemas.V1_44_0.value == SCHEMA
    assert set(_KNOWN.values()) <= {each.value for each in gen_ai_attributes.GenAiProviderNameValues}


def test_a_door_that_listens_on_all_addresses_is_named_by_its_machine() -> None:
    here = {"server.address": socket.gethostname(), "server.port": 50051}
    assert spans.server("0.0.0.0", 50051) == spans.server("[::]", 50051) == here
    assert spans.server("[::1]", 8080) == {"server.address": "::1", "server.port": 8080}
    assert spans.server("10.0.0.7", 0) == {"server.address": "10.0.0.7"}


def test_every_method_is_named_with_its_service() -> None:
    source = "".join(path.read_text() for path in Path(grpc_services.__file__).parent.glob("grpc_*.py"))
    # By the descriptors of all our messages: a request type stands in the file of its service.
    from eurouter.v1 import catalog_pb2, chat_pb2, jobs_pb2, responses_pb2, routing_pb2

    named = 0
    for module in (catalog_pb2, chat_pb2, jobs_pb2, responses_pb2, routing_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert f'"{method.name}"' in source
                request = getattr(module, method.input_type.name)
                assert full_name(request, method.name).full == f"{service.full_name}/{method.name}"
                named += 1
    assert named >= 15


def test_an_address_is_that_of_the_url_and_nothing_of_one_that_can_not_be_read() -> None:
    assert address_of("https://api.example/v1") == {"server.address": "api.example", "server.port": 443}
    assert address_of("http://[::1]:8080") == {"server.address": "::1", "server.port": 8080}
    assert address_of("ftp://x") == {}
    assert address_of("http://x:port") == {}


def test_who_sends_can_be_said_by_opentelemetrys_own_variables() -> None:
    env = {"OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=a-1, deployment.environment.name=eu%20west,bad", "OTHER": "x"}
    told = who("1.2", "host.7", env)
    assert told == {
        "service.name": "eurouter",
        "service.version": "1.2",
        "service.instance.id": "host.7",
        "k8s.pod.name": "a-1",
        "deployment.environment.name": "eu west",
    }
    assert who("1", "i", {**env, "OTEL_SERVICE_NAME": "edge"})["service.name"] == "edge"


@pytest.fixture
def _logs() -> Iterator[None]:
    yield
    logs.set_level("info")
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logs")
def test_a_line_names_the_recorded_span_that_it_was_written_in(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("json", "info")
    span: Span = tracer()[0].start("a", Kind.SERVER, {})
    structlog.get_logger().info("before")
    token = current.set(span)
    structlog.get_logger().info("within")
    current.reset(token)
    before, within = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    assert "trace_id" not in before
    assert (within["trace_id"], within["span_id"]) == (span.trace_id, span.span_id)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{endpoint: collector}", "telemetry.endpoint: must be the URL of a collector"),
        ("{endpoint: 'grpc://c:4317'}", "telemetry.endpoint: must be the URL of a collector"),
        ("{endpoint: 'http://c:99999'}", "telemetry.endpoint: must be the URL of a collector"),
        ("{endpoint: 'http://me:hunter2@c'}", "telemetry.endpoint: must have no user, query or fragment"),
        ("{endpoint: 'http://c/v1/traces'}", "telemetry.endpoint: must end before /v1"),
        ("{headers: {authorization: 'Bearer hunter2'}}", "telemetry.headers.authorization: must say where the"),
        ("{headers: {'a b': 'env:X'}}", "telemetry.headers"),
        ("{sample_ratio: 1.5}", "telemetry.sample_ratio: must be"),
        ("{sample_rate: 1}", "telemetry.sample_rate"),
        ("{interval_seconds: 0}", "telemetry.interval_seconds: must be"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_repeated(tmp_path: Path, section: str, says: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"telemetry: {section}")
    with pytest.raises(SettingsError) as caught:
        Settings.load(path, {})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(says)
    assert "hunter2" not in line


def test_a_header_without_its_secret_is_named_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"telemetry: {{endpoint: 'https://c', headers: {{x-key: 'env:NONE'}}, ca_file: {tmp_path}/none.pem}}"
    )
    env = {"EUROUTER_TELEMETRY__SAMPLE_RATIO": "0.25"}
    settings = Settings.load(path, env)
    assert settings.telemetry.sample_ratio == 0.25
    secret, file = problems(settings, Secrets({}).resolve)
    assert secret.startswith("telemetry.headers.x-key: ")
    assert file == (
        f"telemetry.ca_file: there is no file {tmp_path}/none.pem: put it there (in Kubernetes: the Secret's key "
        "'none.pem')"
    )
