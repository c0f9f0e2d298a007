"""The one place that joins the parts."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NoReturn, TypeVar

from flow_manager.api.app import create_app
from flow_manager.api.server import ApiServer, startable
from flow_manager.core.definition import ENDS, Webhook
from flow_manager.core.webhooks import Webhooks
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.capsules import StoredCapsules
from flow_manager.engine.clock import SystemClock
from flow_manager.engine.dispatcher import Dispatcher
from flow_manager.engine.doctor import Doctor
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.engine.reading import ReadingBackend
from flow_manager.engine.secrets import Secrets, read_secrets
from flow_manager.errors import SettingsError, StoreReadOnly
from flow_manager.observers.hiding import hide_in_logs
from flow_manager.observers.logs import LogObserver, set_up_logging
from flow_manager.observers.metrics import Metrics
from flow_manager.ports.backend import Backend, Violation
from flow_manager.ports.capsules import Capsules
from flow_manager.ports.database import Database
from flow_manager.ports.observer import Observer
from flow_manager.ports.retention import Retention
from flow_manager.ports.store import Reader
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.database import SqliteDatabase
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.http import HttpClient
from flow_manager.tasks.builtin.registration import BuiltinSettings, register_builtin_tasks
from flow_manager.tasks.builtin.webhooks import HttpSender
from flow_manager.tasks.discovery import import_task_modules
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import REGISTRY, TaskRegistry
from flow_manager.tasks.worker import TaskWorker

Reading = TypeVar("Reading", bound=ReadingBackend)

log = logging.getLogger(__name__)

WEBHOOKS_SECRET = "webhooks"
"""The secret that signs what the webhooks of the settings are told, if there is one of this name."""
OTHER_THREADS: Final = 24
"""Those besides what is set: the loop, the journal, the web server's own, a watcher for each process."""
LEAST_HANDLERS: Final = 3
SWITCH_INTERVAL: Final = 0.0002
"""Seconds after which a thread gives way to one that waits for the interpreter, which is 0.005 otherwise: the
journal waits for it a few times in each transaction, while the loop hardly ever does. See decision 1."""
EXIT_OK = 0
EXIT_IO_ERROR = 74
"""EX_IOERR of sysexits.h: the store failed under the service."""


def configure_logging(settings: Settings) -> None:
    """Logs go to stderr, so that stdout belongs to results."""
    set_up_logging(settings.log_level, settings.log_format)


def build_registry(settings: Settings) -> TaskRegistry:
    """All tasks: those registered already, of the named modules, and of installed packages.
    Raises `TaskRegistrationError`."""
    import_task_modules(settings.task_modules)
    builtin = BuiltinSettings(
        http_allow=settings.http_allow,
        commands=settings.commands,
        command_variables=settings.command_variables,
    )
    register_builtin_tasks(REGISTRY, builtin)
    return REGISTRY


def open_reader(settings: Settings) -> Reader:
    """The stored executions, readable also while a server owns the file."""
    return SqliteReader(settings.database.resolve())


def capsules_of(reader: Reader) -> Capsules:
    """The stored executions as documents."""
    return StoredCapsules(reader)


def open_database(settings: Settings) -> Database:
    """The database as an operator handles it; nothing is opened yet."""
    return SqliteDatabase(settings.database)


def retention_of(settings: Settings) -> Retention:
    """What is kept of ended executions; 0 is no bound."""
    keep = timedelta(days=settings.retention) if settings.retention else None
    return Retention(keep, settings.max_store or None)


def open_backend(settings: Settings) -> NativeBackend:
    """The embedded engine on the database of the settings. Raises `StoreError` and
    `TaskRegistrationError`. The threads of this process take shorter turns from then on."""
    sys.setswitchinterval(min(SWITCH_INTERVAL, sys.getswitchinterval()))
    registry = build_registry(settings)
    store = SqliteStore(settings.database, settings.durability)
    processes = ProcessPool(registry, size=settings.task_processes, most_result=settings.max_result)
    worker = TaskWorker(
        registry, threads=settings.task_threads, processes=processes, most_result=settings.max_result
    )
    limits = EngineLimits(max_running=settings.max_running, max_waiting=settings.max_waiting)
    secrets = Secrets(read_secrets(settings.secrets))
    if secrets.are_known:
        hide_in_logs(secrets.hidden_in_line)
    metrics = Metrics()
    observers: list[Observer] = [LogObserver(), metrics]
    orchestrator = FlowOrchestrator(store, worker, SystemClock(), observers, limits, secrets)
    orchestrator.attempted = metrics.attempted
    orchestrator.doctor.tell = metrics.set_violations
    _add_webhooks(orchestrator, settings)
    retention = retention_of(settings)
    backend = NativeBackend(orchestrator, registry, die, settings.max_result, retention)
    return _measured(backend, metrics)


def _measured(backend: Reading, metrics: Metrics) -> Reading:
    metrics.watch(backend.figures)
    backend.metrics = metrics
    return backend


def _add_webhooks(orchestrator: FlowOrchestrator, settings: Settings) -> None:
    """Deliveries go out under the same guard as `http` tasks."""
    secrets = orchestrator.secrets.values
    signing = WEBHOOKS_SECRET if WEBHOOKS_SECRET in secrets else None
    orchestrator.webhooks = Webhooks([Webhook(url, ENDS, signing) for url in settings.webhooks])
    sender = HttpSender(HttpClient(AllowList.parse(settings.http_allow)))
    orchestrator.dispatcher = Dispatcher(orchestrator.store.outbox, sender, orchestrator.clock, secrets)


def repair(settings: Settings) -> Sequence[Violation]:
    """Mend what can be mended in the store, which nobody else may own; nothing is executed. Raises
    `StoreError`."""
    store, clock = SqliteStore(settings.database, settings.durability), SystemClock()

    async def mend() -> Sequence[Violation]:
        await store.open(clock.now(), die)
        mended: list[Violation] = []
        try:
            await Doctor(store, clock).mend_all(store.violations(), mended)
        finally:
            await store.stop()
        return mended

    return asyncio.run(mend())


def serve(settings: Settings) -> int:
    """Serve until a signal; the answer is the exit code. Raises what `open_backend` raises."""
    configure_logging(settings)
    settings = fitted(settings, startable(threads_of(settings)))
    backend = _open_as_far_as_possible(settings)
    try:
        server = ApiServer(
            create_app(backend, settings),
            settings,
            on_stop=lambda: _drain(backend, settings.grace),
            on_hurry=lambda: _hurry(backend),
        )
        server.serve()
    finally:
        backend.close(settings.grace)
    _leave(EXIT_OK)


def threads_of(settings: Settings) -> int:
    """As many as there may ever be."""
    return settings.handler_threads + settings.max_followers + settings.task_threads + OTHER_THREADS


def fitted(settings: Settings, most: int) -> Settings:
    """The settings with fewer threads of each kind, if the system allows but `most` in all. The web server
    aborts the process when it cannot start one that it has been promised. Raises `SettingsError`."""
    wanted = threads_of(settings)
    if most >= wanted:
        return settings
    share = max(0, most - OTHER_THREADS) / (wanted - OTHER_THREADS)
    handlers = max(LEAST_HANDLERS, int(settings.handler_threads * share))
    fewer = replace(
        settings,
        handler_threads=handlers,
        max_waiters=max(1, min(settings.max_waiters * handlers // settings.handler_threads, handlers - 1)),
        max_followers=max(1, int(settings.max_followers * share)),
        task_threads=max(1, int(settings.task_threads * share)),
    )
    if threads_of(fewer) > most:
        raise SettingsError(
            f"the system allows this process {most} more threads, and it cannot do with fewer than "
            f"{threads_of(fewer)}; allow it more (ulimit -u, or the pids of its container)"
        )
    log.warning(
        "the system allows this process %d more threads and not %d, so it goes on with --handler-threads %d, "
        "--max-followers %d and --task-threads %d",
        *(most, wanted, fewer.handler_threads, fewer.max_followers, fewer.task_threads),
    )
    return fewer


def _open_as_far_as_possible(settings: Settings) -> Backend:
    """A file that cannot be written can still be looked at."""
    try:
        return open_backend(settings)
    except StoreReadOnly as error:
        if not settings.database.exists():
            raise
        log.warning("%s; serving what is stored, accepting nothing new", error)
        backend = ReadingBackend(open_reader(settings), build_registry(settings))
        return _measured(backend, Metrics())


def _drain(backend: Backend, grace: timedelta) -> None:
    if isinstance(backend, NativeBackend):
        backend.drain(grace)
    elif isinstance(backend, ReadingBackend):
        backend.live.close()  # those who follow hold threads of the server


def _hurry(backend: Backend) -> None:
    if isinstance(backend, NativeBackend):
        backend.hurry()


def die(error: BaseException) -> None:
    """After this fault, whatever memory says of the store may be wrong: stop at once, without
    tidying up. The next start verifies the file and goes on from what it holds."""
    log.critical("the store failed, stopping at once: %s: %s", type(error).__name__, error)
    _leave(EXIT_IO_ERROR)


def _leave(code: int) -> NoReturn:
    """End the process without the interpreter's own farewell, in which the web server aborts."""
    try:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:  # nothing that fails on the way may keep the process
        os._exit(code)
