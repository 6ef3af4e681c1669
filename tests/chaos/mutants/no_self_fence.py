"""A worker that believes that its jobs are its own until the database says otherwise."""

from __future__ import annotations

import sys

from service.worker_service import WorkerService
from tests.chaos.mutants.started import main
from workers.leases import Lease, Leases


class _Endless(Lease):
    __slots__ = ()

    def holds(self) -> bool:
        return not self.lost


class Unfenced(Leases):
    """Leases that don't end by themselves."""

    def hold(self, job_id: str, epoch: int, sent: float) -> Lease:
        """As Leases, but endless."""
        held = super().hold(job_id, epoch, sent)
        endless = _Endless(held.id, held.epoch, held.until, self.clock)
        self._held[job_id] = endless
        return endless

    def fence(self) -> None:
        """Nothing."""


if __name__ == "__main__":
    sys.exit(main(lambda settings, start: WorkerService(settings, start, leases=Unfenced)))
