"""What a process sends by OTLP, built from the settings; beside the engine it names concrete adapters.

Where the settings name no collector nothing is imported: what isn't used costs neither time nor memory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from service.settings import Settings

if TYPE_CHECKING:
    from adapters.otlp.opening import Otlp

Report = Callable[[str, Mapping[str, object]], None]


def otlp_of(
    settings: Settings,
    env: Mapping[str, str],
    resolve: Callable[[str], str],
    registry: CollectorRegistry | None,
    report: Report,
    *,
    metrics: Callable[[], Iterable[Metric]] | None,
    traces: bool = True,
) -> Otlp | None:
    """Begins to send what is wanted; None: nothing is. Close it last.

    `resolve` gives the secret of a reference. The exporters count in `registry`. `metrics` are those that this
    process sends, None: others send them. Without `traces` it sends none.

    Raises:
        OSError: the CA file can't be read or holds no certificate.
    """
    wanted = settings.telemetry
    if wanted.endpoint is None:
        return None
    traces, sends = traces and wanted.traces, wanted.metrics and metrics is not None
    if not (traces or sends):
        return None
    from adapters.otlp.opening import OtlpOptions, open_otlp, who

    options = OtlpOptions(
        wanted.endpoint,
        lambda: {name: resolve(reference) for name, reference in wanted.headers.items()},
        ca_file=str(wanted.ca_file) if wanted.ca_file else None,
        ratio=wanted.sample_ratio if traces else None,
        trust=wanted.trust_parent,
        interval=wanted.interval_seconds if sends else None,
    )
    attributes = who(metadata.version("eurouter"), f"{socket.gethostname()}.{os.getpid()}", env)
    return open_otlp(options, attributes, registry=registry, collect=metrics or tuple, report=report)


def metrics_of_all(settings: Settings, folder: str) -> Otlp | None:
    """Begins to send the sums over all processes that count in `folder`, for their parent; None: not wanted.

    They send their traces themselves.

    Raises:
        OSError: the CA file can't be read or holds no certificate.
    """
    from adapters.providers.secrets import Secrets
    from adapters.telemetry import collect_all

    def report(event: str, values: Mapping[str, object]) -> None:
        structlog.get_logger().warning(event, **values)

    resolve = Secrets(dict(os.environ)).resolve
    return otlp_of(settings, os.environ, resolve, None, report, metrics=lambda: collect_all(folder), traces=False)
