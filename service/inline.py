"""What stands at addresses, put into a request for endpoints that take bytes only: fetched once for all attempts.

Which calls may have it is decided in the plan; who fetches, and from where not, in adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from service.adapt import Adapted, Adapter
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError
from service.domain.fields import FETCHED, Field
from service.domain.generation import File, Generation, Image, Part, ToolResult
from service.domain.media import FetchedMedia, MediaKind, Wanted, file_name_of, is_data_uri
from service.domain.ports import MediaFetcher
from service.domain.routing import Needs

_Key: TypeAlias = tuple[MediaKind, str]

_KINDS: Final[Mapping[Field, MediaKind]] = {Field.IMAGE_URL: "image", Field.FILE_URL: "file"}
_FIELDS: Final = {kind: field for field, kind in _KINDS.items()}
_NOTHING: Final[frozenset[Field]] = frozenset()
# Timers of event loops may fire some milliseconds early.
_SLACK: Final = 0.01


class Fitting:
    """One call's generation, fitted to endpoints as `Adapter` does, bytes for addresses where they can't be said.

    `needs` and `owner` are the call's, `deadline` its own on `clock`. `media` None: nobody can fetch.
    """

    __slots__ = (
        "_adapters",
        "_clock",
        "_deadline",
        "_fetched",
        "_media",
        "_missed",
        "_needed",
        "_owner",
        "_paths",
        "generation",
    )

    def __init__(
        self,
        generation: Generation,
        needs: Needs,
        media: MediaFetcher | None,
        owner: str,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self.generation = generation
        self._paths = needs.addresses
        self._media = media
        self._owner = owner
        self._deadline = deadline
        self._clock = clock
        # Most requests hold no address, and most endpoints take one.
        self._needed = FETCHED.intersection(needs.fields) if needs.addresses else _NOTHING
        self._fetched: dict[_Key, FetchedMedia] = {}
        self._missed: list[tuple[frozenset[Field], ServiceError]] = []
        self._adapters: dict[frozenset[Field], Adapter] = {_NOTHING: Adapter(generation)}

    def fit(self, endpoint: Endpoint, budget: int | None = None) -> Adapted:
        """What `endpoint` is asked, as `Adapter.fit`. Call `prepare` for it before."""
        return self._adapters[self._lacking(endpoint)].fit(endpoint, budget)

    async def prepare(self, endpoint: Endpoint) -> None:
        """Fetches what `endpoint` can't be told by address, as far as it is not here yet.

        Raises:
            ServiceError: as `MediaFetcher.fetch`, again for other endpoints that need it; DEADLINE_EXCEEDED.
        """
        lacking = self._lacking(endpoint)
        if lacking in self._adapters:
            return
        for missed, error in self._missed:
            if missed <= lacking:
                raise error
        if self._media is None:
            raise ServiceError(Reason.INTERNAL, "an endpoint takes bytes only, and nothing here fetches them")
        kinds = {_KINDS[field] for field in lacking}
        there = dict.fromkeys(key for key in _addresses(self.generation) if key[0] in kinds)
        wanted = [
            Wanted(url, kind, self._paths.get((_FIELDS[kind], url), ""))
            for kind, url in there
            if (kind, url) not in self._fetched
        ]
        try:
            await self._fetch(self._media, wanted)
        except ServiceError as error:
            self._missed.append((lacking, error))
            raise
        self._adapters[lacking] = Adapter(_inline(self.generation, self._fetched, kinds))

    def release(self) -> None:
        """The call is over: what was fetched for it is forgotten. Idempotent."""
        if self._media is not None and self._fetched:
            self._media.release(tuple(self._fetched.values()))
            self._fetched = {}

    def _lacking(self, endpoint: Endpoint) -> frozenset[Field]:
        return self._needed - endpoint.expressible if self._needed else _NOTHING

    async def _fetch(self, media: MediaFetcher, wanted: Sequence[Wanted]) -> None:
        try:
            found = await media.fetch(wanted, self._deadline - self._clock(), self._owner)
        except ServiceError as error:
            if self._clock() + _SLACK >= self._deadline:
                message = "the call's deadline passed while what stands at addresses was fetched"
                raise ServiceError(Reason.DEADLINE_EXCEEDED, message) from error
            raise
        self._fetched.update(((each.kind, each.url), made) for each, made in zip(wanted, found, strict=True))


def _addresses(generation: Generation) -> Iterator[_Key]:
    for turn in generation.turns:
        for part in turn.parts:
            for inner in part.parts if isinstance(part, ToolResult) else (part,):
                key = _address(inner)
                if key is not None:
                    yield key


def _address(part: Part) -> _Key | None:
    if isinstance(part, Image) and not is_data_uri(part.url):
        return "image", part.url
    if isinstance(part, File) and part.url is not None:
        return "file", part.url
    return None


def _inline(generation: Generation, fetched: Mapping[_Key, FetchedMedia], kinds: set[MediaKind]) -> Generation:
    def written(part: Part) -> Part:
        if isinstance(part, ToolResult):
            inner = _each(part.parts, written)
            return part if inner is part.parts else replace(part, parts=tuple(inner))
        key = _address(part)
        if key is None or key[0] not in kinds:
            return part
        media = fetched[key]
        if isinstance(part, File):
            name = part.filename or file_name_of(key[1], media.media_type)
            return replace(part, url=None, data=media.data_uri, filename=name)
        return replace(part, url=media.data_uri) if isinstance(part, Image) else part

    turns = tuple(
        turn if (parts := _each(turn.parts, written)) is turn.parts else replace(turn, parts=tuple(parts))
        for turn in generation.turns
    )
    return replace(generation, turns=turns)


def _each(parts: tuple[Part, ...], written: Callable[[Part], Part]) -> Sequence[Part]:
    """The parts, each as `written` has it; the same object where nothing changes."""
    made = [written(part) for part in parts]
    return parts if all(a is b for a, b in zip(made, parts, strict=True)) else made
