"""The catalogue file in force: reloaded when it changes, kept as it was when the edit is bad."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from adapters.catalog.discover import Discovered, Get, discover
from adapters.catalog.load import DEFAULT_TIMEOUTS, Dialects, build_catalog, old_facts, read_catalog
from adapters.catalog.names import clashes
from adapters.catalog.schema import CatalogDocument
from adapters.documents.read import DocumentError, Problem
from adapters.documents.watch import WatchedFile
from service.domain import crash
from service.domain.catalog import Catalog, Provider, ProviderStatus, Rule, Timeouts

RELOADED: Final = "catalog_reloaded"
PROVIDER_CHANGED: Final = "catalog_provider_changed"
OLD_FACT: Final = "catalog_fact_old"
DISCOVERED: Final = "catalog_models_discovered"
DISCOVERY_FAILED: Final = "catalog_discovery_failed"
NAMES_TAKEN: Final = "catalog_names_taken"

Report = Callable[[str, Mapping[str, object]], None]
"""Called with one of the names above and its values; must not block."""


def _today() -> date:
    return datetime.now(UTC).date()


def _ignore(_event: str, _values: Mapping[str, object]) -> None:
    pass


class FileCatalog:
    """A CatalogSource on a file.

    `current()` is an attribute read. A call that started with one catalogue keeps it: rows never change,
    a new catalogue replaces the whole. `poll()` looks once; `run()` looks every second and asks servers
    with `discover: true` for their models every five minutes, sooner while one has never answered.
    """

    def __init__(
        self,
        path: Path,
        dialects: Dialects,
        is_configured: Callable[[str], bool],
        *,
        rules: tuple[Rule, ...] = (),
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        report: Report = _ignore,
        today: Callable[[], date] = _today,
        judged: Callable[[Sequence[str]], None] = lambda _problems: None,
    ) -> None:
        """Reads the file. `judged` is told what is wrong with later ones, when that changes; nothing: it is good.

        Raises:
            DocumentError: it can't be used; every problem with its key's path and line.
        """
        self._path = path
        self._dialects = dialects
        self._is_configured = is_configured
        self._rules = rules
        self._timeouts = timeouts
        self._report = report
        self._today = today
        self._judged = judged
        self._problems: tuple[str, ...] = ()
        self._discovered: dict[str, tuple[Discovered, ...]] = {}
        self._told: list[Callable[[Catalog], None]] = []
        self._told_missing = False
        # Before reading: a change between the two is then seen by the next look.
        self._file = WatchedFile(path)
        self._document = read_catalog(path)
        self._catalog = self._build()
        self._report_old_facts()

    @property
    def document(self) -> CatalogDocument:
        """The file in force."""
        return self._document

    def current(self) -> Catalog:
        """The catalogue in force."""
        return self._catalog

    def complete(self) -> bool:
        """Whether every usable server with `discover: true` has said which models it has, since this began."""
        return all(provider.slug in self._discovered for provider in self._discovering())

    def use_rules(self, rules: tuple[Rule, ...]) -> None:
        """Other rules from now on: they come from the settings, not from the file."""
        if rules != self._rules:
            self._rules = rules
            self._rebuild()

    def tell(self, use: Callable[[Catalog], None]) -> None:
        """Calls `use` with the catalogue in force, and with each that follows, when it comes into force."""
        self._told.append(use)
        use(self._catalog)

    def poll(self) -> bool:
        """Looks whether the file or the secrets that it names changed; True when there is a new catalogue."""
        fresh = self._read_if_changed()
        if fresh is not None:
            return self._accept(fresh)
        return self._nothing_new()

    async def run(
        self,
        get: Get | None = None,
        *,
        every: float = 1.0,
        discover_every: float = 300.0,
        discover_again: float = 5.0,
    ) -> None:
        """Looks again and again (seconds) until cancelled; reading happens in a thread, beside the calls.

        While nothing is known of a server, servers are asked after `discover_again`, then twice that, and so
        on up to `discover_every`: it may only be starting.
        """
        next_discovery, again = 0.0, discover_again
        clock = asyncio.get_running_loop().time
        while True:
            if get is not None and clock() >= next_discovery:
                known = await self.discover(get)
                next_discovery = clock() + (discover_every if known else min(again, discover_every))
                again = discover_again if known else again * 2
            await asyncio.sleep(every)
            fresh = await asyncio.to_thread(self._read_if_changed)
            if self._nothing_new() if fresh is None else self._accept(fresh):
                next_discovery, again = 0.0, discover_again

    async def discover(self, get: Get) -> bool:
        """Asks every usable provider with `discover: true` for its models. A failure keeps what was known.

        Tells whether something is known of each of them by now.
        """
        providers = self._discovering()
        answers = await asyncio.gather(*(self._ask(provider, get) for provider in providers))
        changed = False
        for provider, found in zip(providers, answers, strict=True):
            if found is not None and found != self._discovered.get(provider.slug):
                self._discovered[provider.slug] = found
                self._report(DISCOVERED, {"provider": provider.slug, "models": len(found)})
                self._report_clashes(provider.slug)
                changed = True
        if changed:
            self._rebuild()
        return all(provider.slug in self._discovered for provider in providers)

    def _discovering(self) -> list[Provider]:
        wanted = {part.slug for part in self._document.providers if part.discover}
        return [p for s, p in self._catalog.providers.items() if s in wanted and _usable(p)]

    async def _ask(self, provider: Provider, get: Get) -> tuple[Discovered, ...] | None:
        try:
            return await discover(provider, get)
        except Exception as error:  # noqa: BLE001 - whatever a server answers, the others go on
            self._report(DISCOVERY_FAILED, {"provider": provider.slug, "error": str(error) or repr(error)})
            return None

    def _read_if_changed(self) -> CatalogDocument | DocumentError | None:
        if not self._file.changed():
            return None
        try:
            return read_catalog(self._path)
        except DocumentError as error:
            return error
        except Exception as error:  # noqa: BLE001 - every process that has this file would end at the same time
            why = f"reading it failed by {crash.sentence(error)}"
            return DocumentError(str(self._path), [Problem("", why)])

    def _accept(self, fresh: CatalogDocument | DocumentError) -> bool:
        self._problems = tuple(str(fresh).splitlines()) if isinstance(fresh, DocumentError) else ()
        self._judged(self._problems)
        if isinstance(fresh, DocumentError):
            return False
        self._document = fresh
        discovering = {part.slug for part in fresh.providers if part.discover}
        self._discovered = {slug: found for slug, found in self._discovered.items() if slug in discovering}
        self._rebuild()
        self._report(RELOADED, {"models": len(self._catalog.models), "providers": len(self._catalog.providers)})
        self._report_old_facts()
        for slug in self._discovered:
            self._report_clashes(slug)
        return True

    def _nothing_new(self) -> bool:
        if self._file.missing() != self._told_missing:
            self._told_missing = self._file.missing()
            gone = (f"there is no file {self._path} any more",)
            self._judged(gone if self._told_missing else self._problems)
        return self._look_at_secrets()

    def _look_at_secrets(self) -> bool:
        """A key that was set or taken away changes a provider's status without a change of the file."""
        for slug, provider in self._catalog.providers.items():
            references = provider.auth.references
            if not references or provider.status not in (_ACTIVE, _UNSET):
                continue
            if all(map(self._is_configured, references)) != (provider.status is _ACTIVE):
                self._rebuild()
                status = self._catalog.providers[slug].status
                self._report(PROVIDER_CHANGED, {"provider": slug, "status": status.value})
                return True
        return False

    def _rebuild(self) -> None:
        self._catalog = self._build()
        for use in self._told:
            use(self._catalog)

    def _build(self) -> Catalog:
        version = self._catalog.version + 1 if hasattr(self, "_catalog") else 1
        return build_catalog(
            self._document,
            self._dialects,
            self._is_configured,
            rules=self._rules,
            discovered=self._discovered,
            timeouts=self._timeouts,
            version=version,
        )

    def _report_clashes(self, slug: str) -> None:
        found = list(clashes(self._document, slug, self._discovered[slug]))
        if found:
            # A server may have a thousand: the first ones show what the matter is.
            names = [f"{name} (is {by} in the file)" for name, by in found[:_FEW]]
            self._report(NAMES_TAKEN, {"provider": slug, "left_out": len(found), "names": names})

    def _report_old_facts(self) -> None:
        for sentence in old_facts(self._document, self._today()):
            self._report(OLD_FACT, {"message": sentence})


_FEW: Final = 10
_ACTIVE: Final = ProviderStatus.ACTIVE
_UNSET: Final = ProviderStatus.NOT_CONFIGURED


def _usable(provider: Provider) -> bool:
    return provider.status is _ACTIVE
