"""The router has what stands at addresses fetched for endpoints that take bytes only, once for all attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from adapters.health import OutcomeHealth
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.events import Event, Folded
from service.domain.failure import FailureKind
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import File, Generation, Image, Role, Text, ToolCall, ToolResult, Turn
from service.domain.media import FetchedMedia, Wanted
from service.domain.preferences import Policy, Preferences
from service.domain.routing import Decision, Filter, Needs, WantedModel
from service.domain.selection import Selection
from service.router import Router
from tests.support.catalogs import EVERY_FIELD, endpoint, model
from tests.support.fetched import fetched
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry, Script, context, fails, says

BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
A, B = "https://a.example/a.png", "https://b.example/dir/b.pdf"
IMAGES = Field.IMAGE_URL
BYTES_ONLY = EVERY_FIELD - {Field.IMAGE_URL, Field.FILE_URL}
PNG, PDF = fetched("image/png", b"\x89PNG"), fetched("application/pdf", b"%PDF-")
ASKED = Generation(
    (Turn(Role.USER, (Text("hi"), Image(A, "low"), File(url=B), Image("data:image/png;base64,AAAA"))),)
)
NEEDS = Needs(
    {
        Field.IMAGE_INPUT: "input[0].image_url",
        Field.IMAGE_URL: "input[0].image_url",
        Field.FILE_INPUT: "input[1]",
        Field.FILE_URL: "input[1].file_url",
    },
    addresses={(IMAGES, A): "input[0].image_url", (Field.FILE_URL, B): "input[1].file_url"},
)


class FakeFetcher:
    """Gives what stands at each address after `seconds` of the clock, or raises; `asked` in order."""

    def __init__(self, clock: FakeClock, there: Mapping[str, FetchedMedia | ServiceError], seconds: float) -> None:
        self._clock = clock
        self._there = there
        self._seconds = seconds
        self.asked: list[list[Wanted]] = []
        self.owners: list[str] = []
        self.patience: list[float] = []
        self.held = 0

    async def fetch(self, wanted: Sequence[Wanted], seconds: float, owner: str) -> Sequence[FetchedMedia]:
        self.asked.append(list(wanted))
        self.owners.append(owner)
        self.patience.append(seconds)
        await self._clock.sleep(min(self._seconds, seconds))
        if self._seconds > seconds:
            raise invalid(wanted[0].path, "could not be fetched in time")
        found = [self._there[each.url] for each in wanted]
        for each in found:
            if isinstance(each, ServiceError):
                raise each
        self.held += len(found)
        return [each for each in found if isinstance(each, FetchedMedia)]

    def release(self, media: Sequence[FetchedMedia]) -> None:
        self.held -= len(media)


class World:
    """A router over scripts, with a fetcher; calls are of a key that may have media fetched."""

    def __init__(
        self,
        scripts: dict[Endpoint, Script | list[Script]],
        there: Mapping[str, FetchedMedia | ServiceError] | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.clock = FakeClock()
        self.upstream = FakeUpstream(self.clock, {each.id: script for each, script in scripts.items()})
        self.telemetry = RecordingTelemetry()
        self.health = OutcomeHealth(self.clock)
        self.media = FakeFetcher(self.clock, there if there is not None else {A: PNG, B: PDF}, seconds)
        self.router = Router(
            self.upstream, self.health, self.telemetry,
            clock=self.clock, sleep=self.clock.sleep, media=self.media,
        )  # fmt: skip
        self.rows = tuple(scripts)

    async def ask(
        self,
        generation: Generation = ASKED,
        needs: Needs = NEEDS,
        *,
        streamed: bool = True,
        preferences: Preferences | None = None,
        fetch: bool = True,
        seconds: float = 60.0,
    ) -> tuple[Folded, Decision]:
        selection = Selection(
            (WantedModel(model("vendor/model", *self.rows)),), Policy(preferences or Preferences())
        )
        call = self.context(fetch=fetch, seconds=seconds)
        if not streamed:
            answer = await self.router.call(generation, needs, selection, call)
            return fold(answer.events), answer.decision
        run = self.router.open(generation, needs, selection, call)
        events: list[Event] = []
        while batch := await run.next():
            events += batch
        return fold(events), run.decision

    async def error(self, **more: object) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.ask(**more)  # type: ignore[arg-type]
        return caught.value

    def context(self, *, fetch: bool, seconds: float) -> CallContext:
        principal = Principal("team-a", fetch_media=fetch)
        return replace(context(), principal=principal, deadline=self.clock() + seconds)


def parts(generation: Generation) -> tuple[object, ...]:
    return generation.turns[0].parts


@BOTH
async def test_an_endpoint_that_takes_bytes_only_gets_them_in_place_of_addresses(streamed: bool) -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY): says("ok")})
    folded, decision = await w.ask(streamed=streamed)
    assert folded.choices[0].text == "ok"
    assert w.media.asked == [[Wanted(A, "image", "input[0].image_url"), Wanted(B, "file", "input[1].file_url")]]
    assert w.media.owners == ["team-a"], "they count as those of the call's owner"
    assert parts(w.upstream.generations[0]) == (
        Text("hi"),
        Image(PNG.data_uri, "low"),
        File(data=PDF.data_uri, filename="b.pdf"),
        Image("data:image/png;base64,AAAA"),
    )
    assert decision.ignored == ()


@BOTH
async def test_an_endpoint_that_takes_addresses_gets_them_and_nothing_is_fetched(streamed: bool) -> None:
    w = World({endpoint("a"): says("ok")})
    await w.ask(streamed=streamed)
    assert w.upstream.generations[0] is ASKED
    assert w.media.asked == []


async def test_only_what_an_endpoint_lacks_is_fetched() -> None:
    w = World({endpoint("a", expressible=EVERY_FIELD - {Field.FILE_URL}): says("ok")})
    await w.ask()
    assert [wanted.url for wanted in w.media.asked[0]] == [B]
    assert parts(w.upstream.generations[0])[1] == Image(A, "low")


async def test_what_is_fetched_serves_all_attempts_of_the_call() -> None:
    lacks_files = endpoint("b", expressible=EVERY_FIELD - {Field.FILE_URL}, price="2")
    lacks_both = endpoint("c", expressible=BYTES_ONLY, price="3")
    again = endpoint("d", expressible=BYTES_ONLY, price="4")
    broken = fails(FailureKind.SERVER_ERROR)
    w = World({endpoint("a"): broken, lacks_files: broken, lacks_both: broken, again: says("ok")})
    await w.ask()
    assert [[wanted.url for wanted in asked] for asked in w.media.asked] == [[B], [A]]
    assert w.upstream.generations[0] is ASKED
    assert parts(w.upstream.generations[2])[1] == Image(PNG.data_uri, "low")
    assert w.upstream.generations[2] is w.upstream.generations[3]


async def test_an_address_that_stands_twice_is_fetched_once_and_within_tool_results_too() -> None:
    turns = (
        Turn(Role.USER, (Image(A),)),
        Turn(Role.ASSISTANT, (ToolCall("c", "look", "{}"),)),
        Turn(Role.TOOL, (ToolResult("c", (Text("see"), Image(A), File(url=B, filename="x.pdf"))),)),
    )
    w = World({endpoint("a", expressible=BYTES_ONLY): says("ok")})
    await w.ask(Generation(turns))
    assert [wanted.url for wanted in w.media.asked[0]] == [A, B]
    sent = w.upstream.generations[0].turns
    assert sent[0].parts == (Image(PNG.data_uri),)
    assert sent[1] is turns[1]
    (result,) = sent[2].parts
    assert isinstance(result, ToolResult)
    assert result.parts == (Text("see"), Image(PNG.data_uri), File(data=PDF.data_uri, filename="x.pdf"))


GONE = invalid("input[0].image_url", "could not be fetched: its host answers 404")


@BOTH
async def test_what_cannot_be_had_is_the_callers_error_and_no_endpoints_fault(streamed: bool) -> None:
    row = endpoint("a", expressible=BYTES_ONLY)
    w = World({row: says("ok"), endpoint("b", price="2", expressible=BYTES_ONLY): says("no")}, {A: GONE, B: PDF})
    error = await w.error(streamed=streamed)
    assert error.reason is Reason.INVALID_REQUEST
    assert [violation.path for violation in error.violations] == ["input[0].image_url"]
    assert w.upstream.asked() == []
    assert (w.telemetry.outcomes(), w.telemetry.failures) == ([], [])
    assert w.health.cooling_until(row.id, w.clock()) is None
    assert len(w.media.asked) == 1, "the second endpoint needs the same, which is not there"


@BOTH
async def test_who_takes_the_address_that_cannot_be_had_here_is_asked_next(streamed: bool) -> None:
    w = World(
        {endpoint("a", expressible=BYTES_ONLY): says("no"), endpoint("b", price="2"): says("ok")},
        {A: GONE, B: PDF},
    )
    folded, decision = await w.ask(streamed=streamed)
    assert folded.choices[0].text == "ok"
    assert w.upstream.generations == [ASKED]
    assert (decision.provider_slug, decision.fallback_count) == ("b", 0)
    assert w.telemetry.outcomes() == [("b/vendor/model", "ok")]


async def test_what_cannot_be_had_takes_no_attempt_from_the_others() -> None:
    rows: dict[Endpoint, Script | list[Script]] = {
        endpoint(f"a{number}", price=str(number), expressible=BYTES_ONLY): says("no") for number in range(1, 5)
    }
    w = World(rows | {endpoint("b", price="9"): says("ok")}, {A: GONE, B: PDF})
    folded, _ = await w.ask()
    assert folded.choices[0].text == "ok"


async def test_a_providers_failure_is_told_before_what_could_not_be_fetched_and_lists_it() -> None:
    asked, other = endpoint("a"), endpoint("b", expressible=BYTES_ONLY, price="2")
    w = World({asked: fails(FailureKind.SERVER_ERROR), other: says("x")}, {A: GONE, B: PDF})
    error = await w.error()
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert [endpoint_id for endpoint_id, _ in error.endpoints] == [asked.id, other.id]
    assert error.endpoints[1][1].startswith("not asked: input[0].image_url")
    assert w.telemetry.outcomes() == [("a/vendor/model", "server_error")]


async def test_what_could_not_be_fetched_is_told_before_a_mistake_of_the_operators() -> None:
    rows = {endpoint("a"): fails(FailureKind.AUTH), endpoint("b", expressible=BYTES_ONLY, price="2"): says("x")}
    w = World(rows, {A: GONE, B: PDF})  # type: ignore[arg-type]
    assert (await w.error()).violations == GONE.violations


async def test_a_files_error_names_the_file_where_an_image_has_the_same_address() -> None:
    turns = (Turn(Role.USER, (Image(A), File(url=A))),)
    needs = replace(NEEDS, addresses={(IMAGES, A): "input[0].image_url", (Field.FILE_URL, A): "input[1].file_url"})
    w = World({endpoint("a", expressible=EVERY_FIELD - {Field.FILE_URL}): says("ok")}, {A: PDF})
    await w.ask(Generation(turns), needs)
    assert w.media.asked == [[Wanted(A, "file", "input[1].file_url")]]


@BOTH
async def test_what_was_fetched_is_given_back_when_the_call_is_over(streamed: bool) -> None:
    broken = endpoint("a", expressible=BYTES_ONLY)
    w = World(
        {broken: fails(FailureKind.SERVER_ERROR), endpoint("b", expressible=BYTES_ONLY, price="2"): says("ok")}
    )
    await w.ask(streamed=streamed)
    assert w.media.held == 0
    w = World({broken: fails(FailureKind.SERVER_ERROR)})
    await w.error(streamed=streamed)
    assert (len(w.media.asked), w.media.held) == (1, 0)


async def test_what_was_fetched_is_held_while_its_answer_is_streamed() -> None:
    row = endpoint("a", expressible=BYTES_ONLY)
    w = World({row: says("ok")})
    selection = Selection((WantedModel(model("vendor/model", row)),), Policy(Preferences()))
    run = w.router.open(ASKED, NEEDS, selection, w.context(fetch=True, seconds=60.0))
    await run.next()
    assert w.media.held == 2
    await run.aclose()
    assert w.media.held == 0


async def test_the_deadline_bounds_the_fetch_and_is_told_as_such() -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY): says("ok")}, seconds=100)
    error = await w.error(seconds=5.0)
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert w.media.patience == [5.0]
    assert w.upstream.asked() == []


async def test_a_fetch_does_not_count_into_an_attempts_time() -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY): says("ok")}, seconds=3)
    await w.ask()
    assert [attempt[2] for attempt in w.telemetry.attempts] == [0.0]


def watched(w: World, row: Endpoint) -> list[str | None]:
    """What stands in the way of another call to `row` at the moments at which something is fetched."""
    seen: list[str | None] = []
    fetch = w.media.fetch

    async def fetch_and_look(wanted: Sequence[Wanted], seconds: float, owner: str) -> Sequence[FetchedMedia]:
        seen.append(w.router.capacity.busy(row))
        return await fetch(wanted, seconds, owner)

    w.media.fetch = fetch_and_look  # type: ignore[method-assign]
    return seen


async def test_while_fetching_no_place_of_an_endpoint_is_held() -> None:
    row = replace(endpoint("a", expressible=BYTES_ONLY), concurrency=1)
    w = World({row: says("ok")})
    seen = watched(w, row)
    await w.ask()
    assert seen == [None]


async def test_while_fetching_for_a_fallback_no_place_of_an_endpoint_is_held() -> None:
    row = replace(endpoint("b", expressible=BYTES_ONLY, price="2"), concurrency=1)
    w = World({endpoint("a"): fails(FailureKind.SERVER_ERROR), row: says("ok")})
    seen = watched(w, row)
    folded, _ = await w.ask()
    assert (folded.choices[0].text, seen) == ("ok", [None])


async def test_for_a_full_endpoint_nothing_is_fetched_while_another_has_room() -> None:
    full = replace(endpoint("a", expressible=BYTES_ONLY), concurrency=1)
    w = World({full: says("no"), endpoint("b", price="2"): says("ok")})
    assert w.router.capacity.enter(full) is not None
    folded, _ = await w.ask()
    assert (folded.choices[0].text, w.media.asked) == ("ok", [])


async def test_what_a_full_endpoint_needs_is_fetched_before_its_place_is_waited_for() -> None:
    full = replace(endpoint("a", expressible=BYTES_ONLY), concurrency=1)
    w = World({full: says("ok")})
    slot = w.router.capacity.enter(full)
    assert slot is not None
    fetch = w.media.fetch

    async def fetch_then_leave(wanted: Sequence[Wanted], seconds: float, owner: str) -> Sequence[FetchedMedia]:
        media = await fetch(wanted, seconds, owner)
        w.router.capacity.leave(slot)
        assert w.router.capacity.busy(full) is None
        return media

    w.media.fetch = fetch_then_leave  # type: ignore[method-assign]
    folded, _ = await w.ask()
    assert (folded.choices[0].text, len(w.media.asked)) == ("ok", 1)
    assert w.telemetry.in_flight == {full.id: 0}


async def test_a_full_endpoint_that_cannot_be_sent_what_it_needs_is_not_waited_for() -> None:
    full = replace(endpoint("a", expressible=BYTES_ONLY), concurrency=1)
    w = World({full: says("no")}, {A: GONE, B: PDF})
    assert w.router.capacity.enter(full) is not None
    begun = w.clock()
    assert (await w.error()).violations == GONE.violations
    assert w.clock() == begun


@BOTH
async def test_without_leave_an_endpoint_that_takes_bytes_only_is_not_asked_and_the_reason_is_told(
    streamed: bool,
) -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY): says("ok")})
    error = await w.error(fetch=False, streamed=streamed)
    assert error.reason is Reason.UNSUPPORTED_FIELD
    told = {violation.path: violation.message for violation in error.violations}
    assert set(told) == {"input[0].image_url", "input[1].file_url"}
    assert all("fetching from addresses is off for this key" in message for message in told.values())
    assert "fetching is off for this key" in error.endpoints[0][1]
    assert w.media.asked == []


async def test_without_leave_an_endpoint_that_takes_addresses_is_asked_in_its_place() -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY): says("no"), endpoint("b", price="2"): says("yes")})
    folded, _ = await w.ask(fetch=False)
    assert folded.choices[0].text == "yes"


async def test_the_order_is_by_price_whether_something_has_to_be_fetched_or_not() -> None:
    w = World({endpoint("b", price="2"): says("no"), endpoint("a", expressible=BYTES_ONLY): says("yes")})
    folded, _ = await w.ask()
    assert folded.choices[0].text == "yes"


async def test_an_endpoint_without_any_images_is_not_told_about_addresses() -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY - {Field.IMAGE_INPUT, Field.FILE_INPUT}): says("ok")})
    for fetch in (True, False):
        error = await w.error(fetch=fetch)
        assert error.reason is Reason.UNSUPPORTED_FIELD
        assert not any("fetch" in violation.message for violation in error.violations)
        assert {violation.path for violation in error.violations} == {"input[0].image_url", "input[1]"}


async def test_who_requires_all_parameters_gets_fetched_media_too() -> None:
    w = World({endpoint("a", expressible=BYTES_ONLY): says("ok")})
    folded, _ = await w.ask(preferences=Preferences(require_parameters=True))
    assert folded.choices[0].text == "ok"


async def test_the_plan_says_the_same_before_the_call() -> None:
    row = endpoint("a", expressible=BYTES_ONLY)
    w = World({row: says("ok")})
    selection = Selection((WantedModel(model("vendor/model", row)),), Policy(Preferences()))
    allowed = replace(NEEDS, bridges=NEEDS.bridges | {Field.IMAGE_URL, Field.FILE_URL})
    assert [attempt.endpoint for attempt in w.router.plan(allowed, selection, "local").attempts] == [row]
    (rejection,) = w.router.plan(NEEDS, selection, "local").rejected
    assert rejection.filter is Filter.FIELD
    assert rejection.paths == ("input[0].image_url", "input[1].file_url")
