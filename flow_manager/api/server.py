"""The web server: granian in this process, around the web application.

Chosen by measurement, see docs/decisions/0003-wsgi-server.md. The process must end with
`os._exit` after `serve` has returned: at the interpreter's own farewell the server's threads abort.
"""

from __future__ import annotations

import errno
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, cast

from flask import Flask
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer
from granian.server.mt import MTServer

from flow_manager.api.settings import ApiSettings
from flow_manager.errors import SettingsError

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that the kernel keeps for us until they are accepted."""
MOST_CONNECTIONS: Final = 4096
"""Open connections; more are left in the backlog until one ends."""
LEAST_FILES: Final = 64
"""The process opens some 30 by itself."""
HEAD_TIMEOUT: Final = 75_000
"""Milliseconds for the head of a request to arrive; as long may a kept connection be idle, which must be
longer than proxies keep theirs (60 s), or they send requests on connections that we just closed."""
HEAD_BYTES: Final = 32 * 1024
"""The largest head of a request that is read, its address included."""
HEEDED: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""Signals that end the service."""
IDLE_THREAD: Final = 60
"""Seconds after which a handler thread without work ends."""
CLIENT_SILENCE: Final = 60_000
"""Milliseconds after which a client is dropped that takes nothing of what is sent to it. One that is silent
for as long is asked whether it is still there: of a host that vanished within a body nothing comes any more,
and what waits for the rest would hold its thread for ever."""
PROBES_APART: Final = 15
"""Seconds between two such questions."""
LAST_ANSWERS: Final = 5.0
"""Seconds for answers under way to reach their clients after the drain."""


class ApiServer:
    """Serves from its making, when the port is taken, until a signal.

    SIGTERM, SIGINT and SIGHUP call `on_stop` on a thread of its own while requests are still answered;
    when it returns, the server stops and `serve` returns. Each further signal calls `on_hurry`.
    Making one raises `SettingsError` if the address cannot be listened on, or too few files can be opened.
    """

    def __init__(
        self, app: Flask, settings: ApiSettings, on_stop: Callable[[], None], on_hurry: Callable[[], None]
    ) -> None:
        self._app = app
        self._settings = settings
        self._on_stop = on_stop
        self._on_hurry = on_hurry
        self._connections = _connections()
        self._socket = _listen(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self.port}"

    def close(self) -> None:
        """Give the port back. Only for a server that does not serve."""
        self._socket.close()

    def serve(self) -> None:
        """Serve until a signal. Must be called on the main thread, where signals arrive."""
        # Whoever follows executions holds a thread, and must not take it from the others.
        threads = self._settings.handler_threads + self._settings.max_followers
        server = _Granian(self._socket, threads, self._connections)
        server.on_startup(lambda: log.info("listening on %s", self.url))
        heard, noted = socket.socketpair()
        noted.setblocking(False)
        # A handler in Python runs on the main thread, which may sleep through a signal that another thread
        # was given; the interpreter writes the number here on whichever thread that is.
        signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)
        threading.Thread(
            target=self._heed_signals, args=(server, heard, noted), name="signals", daemon=True
        ).start()
        server.serve_app(self._app)

    def _heed_signals(self, server: _Granian, heard: socket.socket, _kept: socket.socket) -> None:
        """The first one ends the service; whoever sends another is in a hurry."""
        is_first = True
        while number := heard.recv(1):
            if number[0] not in HEEDED:
                continue
            if is_first:
                threading.Thread(target=self._stop, args=(server,), name="stop", daemon=True).start()
            else:
                self._on_hurry()
            is_first = False

    def _stop(self, server: _Granian) -> None:
        log.info("stopping: no new work is accepted")
        try:
            self._on_stop()
        finally:
            server.stop()


class _Granian(MTServer):
    """Granian's threaded server, made for interpreters without the lock, on one that has it.

    One accepting thread and one worker in this process; handlers run on a pool of threads.
    """

    _shd: Any

    def __init__(self, listening: socket.socket, threads: int, connections: int) -> None:
        super().__init__(
            target="",
            interface=Interfaces.WSGI,
            http=HTTPModes.http1,
            runtime_mode=RuntimeModes.st,
            blocking_threads=threads,
            blocking_threads_idle_timeout=IDLE_THREAD,
            backlog=BACKLOG,
            backpressure=connections,
            http1_settings=HTTP1Settings(header_read_timeout=HEAD_TIMEOUT, max_buffer_size=HEAD_BYTES),
            websockets=False,
            log_level=LogLevels.warning,
            # Incremental, so that it only sets the level and leaves the handlers of the service alone.
            log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
        )
        self._listening = listening

    def serve_app(self, app: Flask) -> None:
        def load(*_: Any, **__: Any) -> Flask:
            return app

        # Not MTServer's own, which only warns of what this class is made to do.
        AbstractServer.serve(self, target_loader=load, wrap_loader=False)

    def stop(self) -> None:
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def _check_gil(self) -> None:
        """The lock is there, and is no harm to one worker."""

    def _init_shared_socket(self) -> None:
        """Serve on the socket that is listening already; granian's own would share the port with others."""
        # The stub of granian lacks this signature.
        make: Callable[[int, bool, int], SocketHolder] = cast(Any, SocketHolder)
        self._shd = make(self._listening.detach(), False, BACKLOG)

    def signal_handler_interrupt(self, *_: Any, **__: Any) -> None:
        """`ApiServer` hears of it in another way."""

    def signal_handler_reload(self, *_: Any, **__: Any) -> None:
        """The same."""

    def _stop_workers(self) -> None:
        """Let the answers under way go out, but wait for no client for ever: the process ends anyway."""
        workers: list[Any] = self.wrks
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(LAST_ANSWERS)


def startable(wanted: int) -> int:
    """How many more threads the system lets this process have, looking no further than `wanted`."""
    going_on = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=going_on.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # the limit of the system
        pass
    finally:
        going_on.set()
    for thread in started:
        thread.join()
    return len(started)


def _connections() -> int:
    """Half of the files that the process may open are for tasks and the store. Raises `SettingsError`."""
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if may_open == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    if may_open < LEAST_FILES:
        raise SettingsError(
            f"the system lets this process open {may_open} files, and it needs {LEAST_FILES}; allow it more "
            "(ulimit -n)"
        )
    return min(MOST_CONNECTIONS, may_open // 2)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}: {error.strerror}; choose another --host") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # of Linux; the connections have it from the listener
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CLIENT_SILENCE)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, CLIENT_SILENCE // 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBES_APART)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise SettingsError(_why(error, host, port)) from error
    return listening


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what listens there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; choose another with --host"
    return f"cannot listen on port {port} of {host}: {error.strerror}"
