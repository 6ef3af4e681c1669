"""Which endpoints' series a process goes on showing. What is counted, and under which labels, is others'."""

from __future__ import annotations

from service.domain.catalog import Catalog


class ShownEndpoints:
    """The endpoints of the catalogue in force and of the last one before it that had others.

    A server that is asked for its models may name new ones with each start: kept for ever, their series would fill
    memory and Prometheus. Those of the catalogue before stay, so that the last figures are read once more, and
    what ends late, or comes back at once, counts on.
    """

    def __init__(self) -> None:
        self._now: frozenset[str] = frozenset()
        self._before: frozenset[str] = frozenset()

    def of(self, catalog: Catalog) -> frozenset[str]:
        """The ids, now that `catalog` is in force."""
        now = frozenset(endpoint.id for model in catalog.models.values() for endpoint in model.endpoints)
        if now != self._now:
            self._before, self._now = self._now, now
        return self._now | self._before
