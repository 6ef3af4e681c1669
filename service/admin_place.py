"""Where the admin port is by the settings: a service and a worker, which may share a machine, have one each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.edge.http_server import HttpOptions
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class AdminPlace:
    """`options`: where to listen by some settings; `setting`: the one that has the port's number."""

    options: Callable[[Settings], HttpOptions]
    setting: str


OF_SERVICE: Final = AdminPlace(lambda found: HttpOptions(found.admin.host, found.admin.port), "admin.port")
OF_WORKER: Final = AdminPlace(
    lambda found: HttpOptions(found.jobs.admin_host, found.jobs.admin_port), "jobs.admin_port"
)
