"""`eurouter serve`: one process or several, with or without the demo's upstream, until a signal comes."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters import logs
from service.admin_place import OF_SERVICE
from service.announcement import kafka_lines
from service.settings import Settings
from service.settings.of_children import SettingsOfChildren
from service.until_signal import (
    StartError,
    freeze_what_stays,
    run,
    run_until_stopped,
    say,
    starting,
    stop_on_signals,
)

if TYPE_CHECKING:
    # Imported where they are used: the parent of several processes must not import gRPC or Prometheus first.
    from service.demo import Demo
    from service.edge.admin import Admin
    from service.process import Ports
    from service.waiting import There

MULTIPROCESS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

AFTER_DRAIN_SECONDS: Final = 15.0
"""What a child's closing may take beside its drain, until it is killed."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """`demo`: start a local model (or the simulator) as the upstream and show an answer; `once`: then stop.

    `wait`: first for what is needed and may still come.
    """

    config: Path | None = None
    demo: bool = False
    once: bool = False
    wait: bool = False


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serves until SIGTERM or SIGINT; the exit code (1: could not start or failed, and the reason was told).

    Raises:
        SettingsError: while it waited it found what can't come.
    """
    _configure_logs(settings, options)
    if settings.processes == 1:
        return run(lambda: _serve_here(settings, options))
    with tempfile.TemporaryDirectory(prefix="eurouter-metrics-") as folder:
        # prometheus_client reads this when it is imported: the children inherit it.
        os.environ[MULTIPROCESS_FOLDER] = folder
        return run(lambda: _serve_children(settings, options, folder))


def _configure_logs(settings: Settings, options: ServeOptions) -> None:
    logs.configure(settings.log.format, "warning" if options.demo else settings.log.level)


def _starting(settings: Settings) -> AbstractContextManager[None]:
    doors = {"grpc": settings.grpc.port, "http": settings.http.port, "admin": settings.admin.port}
    return starting({f"{name}.port": port for name, port in doors.items()})


async def _serve_here(settings: Settings, options: ServeOptions) -> int:
    from service import bootstrap

    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        with _starting(settings):
            start = bootstrap.Start(options.config, drain_pause=not options.demo)
            if options.wait:
                there = await _wait(stack, settings, options, stop)
                if there is None:
                    return 0
                # How many processes there are was decided before: the watcher tells what needs a restart.
                settings = there.settings.model_copy(update={"processes": settings.processes})
                start = replace(start, conditions=there.conditions, admin=there.admin)
            shown = await _start_demo(stack) if options.demo else None
            start = replace(start, catalog=shown.catalog if shown else None)
            service = bootstrap.Service(settings, start)
            await service.process.start()
        freeze_what_stays()
        ports = service.process.ports
        _announce(settings, ports)
        try:
            told = shown is None or await _show(shown, ports, once=options.once)
        except BaseException:
            await service.process.stop()
            raise
        if options.once or not told:
            stop.set()
        code = await run_until_stopped(service.process, stop)
        return code if told else 1


async def _wait(
    stack: AsyncExitStack,
    settings: Settings,
    options: ServeOptions,
    stop: asyncio.Event,
    metrics: Callable[[], bytes] | None = None,
) -> There | None:
    from service.waiting import Needs, wait_for_needs

    needs = Needs(options.config, dict(os.environ), OF_SERVICE.options, has_doors=True, metrics=metrics)
    there = await wait_for_needs(stack, settings, needs, stop)
    if there is not None:
        _configure_logs(there.settings, options)
    return there


async def _serve_children(settings: Settings, options: ServeOptions, folder: str) -> int:
    from adapters.condition_telemetry import ReadyGauge
    from adapters.telemetry import forget_process, render_all
    from service.edge.admin import Admin
    from service.otlp_side import metrics_of_all
    from service.process import Ports
    from service.processes import Children
    from service.side_tasks import READY_SECONDS, every

    if 0 in (settings.grpc.port, settings.http.port):
        raise StartError("several processes share ports: set grpc.port and http.port to numbers, not 0")
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        admin: Admin | None = None
        with _starting(settings):
            if options.wait:
                there = await _wait(stack, settings, options, stop, lambda: render_all(folder))
                if there is None:
                    return 0
                settings, admin = there.settings, there.admin
                # What this process found while it waited is the children's to tell from here on.
                forget_process(folder, os.getpid())
            shown = await _start_demo(stack) if options.demo else None
        theirs = SettingsOfChildren(options.config, os.environ, settings)
        start = (options.config, shown.catalog if shown else None, not options.demo)
        children = Children(
            settings.processes,
            child_main,
            lambda: (theirs.now(), *start),
            on_end=lambda pid: forget_process(folder, pid),
        )
        admin = admin or Admin(OF_SERVICE.options(settings), children.health, lambda: render_all(folder))
        admin.health = children.health
        ready = ReadyGauge(None)
        for beside in (every(READY_SECONDS, lambda: ready.show(not children.health().not_ready)), theirs.run()):
            stack.callback(asyncio.ensure_future(beside).cancel)
        with _starting(settings):
            await admin.server.start()
            stack.push_async_callback(admin.server.stop)
            await children.start()
        if (otlp := metrics_of_all(settings, folder)) is not None:
            stack.push_async_callback(otlp.aclose)
        watching = asyncio.ensure_future(children.watch())
        stack.push_async_callback(lambda: children.stop(theirs.drain_seconds() + AFTER_DRAIN_SECONDS))
        stack.callback(watching.cancel)
        ports = Ports(settings.grpc.port, settings.http.port, admin.server.port)
        _announce(settings, ports)
        told = shown is None or await _show(shown, ports, once=options.once)
        if not (options.once or not told):
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait((stopped, watching), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if watching.done():
                # Nobody restarts children any more: better to end and be restarted as a whole.
                watching.result()
        return 0 if told else 1


def child_main(
    pipe: Connection, _index: int, settings: Settings, config: Path | None, catalog: Path | None, drain_pause: bool
) -> None:
    """One of several serving processes. Ends when told, or when the pipe to its parent closes.

    `settings` are what the others have in force, whatever their file `config` says by now.
    """
    logs.configure(settings.log.format, settings.log.level)
    sys.exit(run(lambda: _serve_as_child(settings, pipe, config, catalog, drain_pause=drain_pause)))


async def _serve_as_child(
    settings: Settings, pipe: Connection, config: Path | None, catalog: Path | None, *, drain_pause: bool
) -> int:
    from service import bootstrap
    from service.processes import READY, tell_health

    stop = stop_on_signals()
    loop = asyncio.get_running_loop()

    def parent_died() -> None:
        # A closed pipe stays readable: without this the loop would spin until the drain's end.
        loop.remove_reader(pipe.fileno())
        stop.set()

    loop.add_reader(pipe.fileno(), parent_died)
    start = bootstrap.Start(config, catalog=catalog, share_ports=True, drain_pause=drain_pause)
    with _starting(settings):
        service = bootstrap.Service(settings, start)
        await service.process.start()
    freeze_what_stays()
    pipe.send(service.readiness())
    pipe.send(READY)
    telling = asyncio.ensure_future(tell_health(pipe, service.readiness))
    try:
        return await run_until_stopped(service.process, stop)
    finally:
        telling.cancel()


async def _start_demo(stack: AsyncExitStack) -> Demo:
    from service import demo

    python = Path(os.environ.get("EUROUTER_MODEL_PYTHON", ".venv-model/bin/python"))
    return await demo.start(stack, python, lambda text: say(f"==> {text}"))


async def _show(shown: Demo, ports: Ports, *, once: bool) -> bool:
    """Shows a streamed answer and one made in the background, then how to go on; False when one did not come."""
    import grpc

    from service import demo

    say(f"==> asking {shown.model} over gRPC: {demo.QUESTION}\n")
    try:
        words = await demo.ask(f"127.0.0.1:{ports.grpc}", shown.model, _say_part)
    except grpc.aio.AioRpcError as error:
        say(f"\n==> no answer: {error.code().name}: {error.details()}")
        return False
    say("\n")
    if not words:
        say("==> no answer: the stream ended without text")
        return False
    say(f"==> asking in the background: {demo.BACKGROUND_QUESTION}")
    try:
        ended = await demo.run_in_background(ports, shown.model, say, _say_part)
    except grpc.aio.AioRpcError as error:
        say(f"\n==> no response in the background: {error.code().name}: {error.details()}")
        return False
    if ended not in ("completed", "incomplete"):
        return False
    if once:
        say(f"==> ok: an answer of {words} pieces came over gRPC, and one was made in the background")
    else:
        say(demo.next_steps(ports, shown.model))
    return True


def _announce(settings: Settings, ports: Ports) -> None:
    grpc, http, admin = settings.grpc, settings.http, settings.admin
    secure = "s" if http.tls.enabled else ""
    say(f"==> gRPC on {grpc.host}:{ports.grpc}{' (TLS)' if grpc.tls.enabled else ''}")
    say(
        f"==> HTTP on http{secure}://{http.host}:{ports.http}/v1, probes and metrics on {admin.host}:{ports.admin}"
    )
    for line in kafka_lines(settings, works=settings.jobs.here):
        say(line)
    if not settings.keys and settings.loopback_only:
        say("==> no API keys are set: only this machine is served, and any key is accepted")


def _say_part(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
