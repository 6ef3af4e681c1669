"""What a call brings along: request id, trace context, key, deadline."""

from __future__ import annotations

import pytest

from service.domain.calls import Principal
from service.domain.errors import Reason, ServiceError
from service.edge.calls import ANYBODY, Calls, DeadlineLimits, presented_key, request_id_of, trace_of
from service.edge.grpc_server import GrpcOptions

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class OneKey:
    """Knows the key `good`."""

    def authenticate(self, presented: str | None) -> Principal:
        """The principal of `good`."""
        if presented != "good":
            raise ServiceError(Reason.INVALID_KEY, "no")
        return Principal("team")


def calls(default: float = 10, maximum: float = 60) -> Calls:
    return Calls(OneKey(), lambda: DeadlineLimits(default, maximum), lambda: 1000.0)


@pytest.mark.parametrize("given", ["a", "0f8c6a0e-6a55-4f5e-9f0e-0c1f2d3e4a5b", "A.b_c:d/e+f=g@h-i", "x" * 128])
def test_a_well_formed_request_id_is_kept(given: str) -> None:
    assert request_id_of({"x-request-id": given}) == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "a\n", "ü", 'a"b', "<script>", "a\x00"])
def test_a_malformed_request_id_is_replaced(given: str) -> None:
    made = request_id_of({"x-request-id": given})
    assert made != given
    assert len(made) == 32
    assert int(made, 16) >= 0


def test_two_calls_without_an_id_get_different_ones() -> None:
    assert request_id_of({}) != request_id_of({})


def test_a_traceparent_keeps_its_trace_and_gets_a_span_of_ours() -> None:
    made, state = trace_of({"traceparent": PARENT, "tracestate": "vendor=1,other=2"})
    version, trace, span, flags = made.split("-")
    assert (version, trace, flags, state) == ("00", TRACE, "01", "vendor=1,other=2")
    assert span != "00f067aa0ba902b7"
    assert len(span) == 16


@pytest.mark.parametrize(
    "given",
    [
        "",
        "junk",
        PARENT.upper(),
        PARENT + "-more",
        PARENT + "junk",
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-00f067aa0ba902b7-01",
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace_without_tracestate(given: str) -> None:
    made, state = trace_of({"traceparent": given, "tracestate": "vendor=1"})
    version, trace, span, flags = made.split("-")
    assert (version, flags, state) == ("00", "00", "")
    assert trace != TRACE
    assert (len(trace), len(span)) == (32, 16)


def test_a_later_version_of_traceparent_may_say_more_and_is_understood() -> None:
    made, _ = trace_of({"traceparent": f"01-{TRACE}-00f067aa0ba902b7-ff-what-ever"})
    assert made.startswith(f"00-{TRACE}-")
    assert made.endswith("-03"), "flags that nobody has defined are not passed on"


def test_a_long_tracestate_loses_whole_entries_only() -> None:
    entries = [f"vendor{n}=" + "v" * 40 for n in range(20)]
    _, state = trace_of({"traceparent": PARENT, "tracestate": ",".join(entries)})
    assert 400 < len(state) <= 512
    assert state.split(",") == entries[: len(state.split(","))]


@pytest.mark.parametrize("given", ["vendor=\udcff", "vendor=ü", "a=1\r\nx-evil: 1"])
def test_a_tracestate_that_no_header_can_carry_is_left_out(given: str) -> None:
    assert trace_of({"traceparent": PARENT, "tracestate": given})[1] == ""


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"authorization": "k"}, "k"),
        ({"x-api-key": "k"}, "k"),
        ({"x-api-key": ""}, None),
        ({"authorization": "Bearer k", "x-api-key": "other"}, "k"),
    ],
)
def test_a_key_comes_in_either_header(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(headers) == key


@pytest.mark.parametrize(
    ("remaining", "deadline"), [(None, 1010.0), (5.0, 1005.0), (60.0, 1060.0), (86_400.0, 1060.0), (-1.0, 999.0)]
)
def test_the_callers_deadline_counts_up_to_the_maximum_and_the_default_without_one(
    remaining: float | None, deadline: float
) -> None:
    context = calls().context({"x-api-key": "good"}, "r", "grpc", remaining=remaining)
    assert context.deadline == deadline


def test_a_public_method_asks_nobody_for_a_key() -> None:
    assert calls().context({}, "r", "grpc", public=True).principal == ANYBODY
    with pytest.raises(ServiceError) as caught:
        calls().context({}, "r", "grpc")
    assert caught.value.reason is Reason.INVALID_KEY


def test_a_client_certificate_speaks_for_its_owner_and_a_key_wins_over_it() -> None:
    owners = {"team-b.example": Principal("team-b")}
    made = Calls(
        OneKey(),
        DeadlineLimits,
        lambda: 0.0,
        lambda names: next((owners[n] for n in names if n in owners), None),
    )
    names = ("unknown.example", "team-b.example")
    assert made.context({}, "r", "grpc", certificate_names=names).principal.owner == "team-b"
    assert made.context({"x-api-key": "good"}, "r", "grpc", certificate_names=names).principal.owner == "team"
    with pytest.raises(ServiceError):
        made.context({}, "r", "grpc", certificate_names=("unknown.example",))


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://evil.example:8080", "null", "", "http://10.0.0.7", "http://[", "evil"],
)
def test_a_web_page_of_another_site_is_refused_where_no_key_is_asked_for(origin: str) -> None:
    with pytest.raises(ServiceError) as caught:
        calls().context({"x-api-key": "good", "origin": origin}, "r", "http")
    assert caught.value.reason is Reason.PERMISSION_DENIED
    assert calls().context({"origin": origin}, "r", "http", public=True).principal == ANYBODY


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]:80",
        "http://ui.localhost",
        "chrome-extension://abc",
    ],
)
def test_a_page_of_this_machine_and_an_app_need_no_key_where_none_is_asked_for(origin: str) -> None:
    assert calls().context({"x-api-key": "good", "origin": origin}, "r", "http").principal == Principal("team")


def test_a_web_page_that_brings_a_key_is_served() -> None:
    class Keyed:
        def authenticate(self, _presented: str | None) -> Principal:
            return Principal("team", key_id="abc")

    made = Calls(Keyed(), DeadlineLimits, lambda: 0.0)
    assert made.context({"origin": "https://ui.example"}, "r", "http").principal.owner == "team"


def test_the_grpc_options_fit_kubernetes() -> None:
    options = dict(GrpcOptions().arguments())
    assert options["grpc.max_receive_message_length"] == 32 * 1024 * 1024
    assert options["grpc.max_send_message_length"] == 32 * 1024 * 1024
    assert options["grpc.max_concurrent_streams"] == 1000
    assert options["grpc.max_connection_age_ms"] == 1_800_000
    assert options["grpc.max_connection_age_grace_ms"] == 3_600_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    # Clients may ping every 10 s, and one that comes a little early is no strike.
    assert 5000 < options["grpc.http2.min_recv_ping_interval_without_data_ms"] < 10_000
    assert options["grpc.so_reuseport"] == 0
    assert dict(GrpcOptions(share_port=True).arguments())["grpc.so_reuseport"] == 1
