"""The process of isolated task bodies, started by the pool.

Its stdin and stdout belong to the messages; a body reads nothing and prints to stderr. When the
pool's end of stdin closes, because the service has ended however abruptly, so does this process,
and whatever its bodies have started.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.context import Cancellation, TaskContext
from flow_manager.tasks.messages import (
    Beat,
    Ended,
    Logged,
    Prepare,
    Ready,
    Run,
    decode_request,
    receive,
    send,
)
from flow_manager.tasks.outcome import from_return, raised, storable
from flow_manager.tasks.registry import REGISTRY, RegisteredTask, as_task
from flow_manager.tasks.source import Source

MOST_ATTEMPTS: Final = 1_000
"""Attempts after which a child is replaced: what its bodies leak is then gone."""
MOST_MEMORY: Final = 512 << 20
"""Bytes of peak memory, after which a child is replaced."""
MOST_TRACEBACK: Final = 32 << 10
"""Characters at the end of a traceback that go into the log."""

SHORTEST_BEAT: Final = 0.05
"""Seconds between two heartbeats that are sent."""

_MEMORY_UNIT: Final = 1 if sys.platform == "darwin" else 1024
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class Line:
    """The way back to the pool, for whichever thread has something to say."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.RLock()

    def send(self, message: Ready | Ended | Logged | Beat) -> None:
        with self._lock:
            send(self._descriptor, message)

    def hang_up(self) -> None:
        """In a fork of this process: the line belongs to the process that was forked."""
        os.close(self._descriptor)


class LineHandler(logging.Handler):
    """Sends the log of this process into the log of the service."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line.send(_logged(record))
        except Exception:
            self.handleError(record)


def main(level: int) -> NoReturn:
    """Run attempts until the pool hangs up. `level` is the least severity that is logged."""
    orders, line = _take_streams()
    sys.argv[1:] = []
    handler = LineHandler(line)
    logging.basicConfig(level=level, handlers=[handler])
    os.register_at_fork(after_in_child=lambda: _leave_line(orders, line, handler))
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, requests), daemon=True).start()
    try:
        _serve(requests, line)
    except SystemExit as error:  # a body called sys.exit: its attempt is lost with this process
        _exit(error)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _take_streams() -> tuple[int, Line]:
    """Move the message streams out of the body's reach."""
    orders, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return orders, Line(answers)


def _leave_line(orders: int, line: Line, handler: LineHandler) -> None:
    os.close(orders)
    line.hang_up()
    logging.getLogger().removeHandler(handler)


def _listen(orders: int, requests: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            requests.put(receive(orders))
    except EOFError:
        os.killpg(0, signal.SIGKILL)


def _serve(requests: queue.SimpleQueue[bytes], line: Line) -> NoReturn:
    tasks: dict[Source, RegisteredTask] = {}
    attempts = 0
    while True:
        request = decode_request(requests.get())
        if isinstance(request, Prepare):
            line.send(Ready(_prepare(request, tasks)))
            continue
        result = _run(tasks[request.source], request, line)
        attempts += 1
        line.send(Ended(result, is_last=attempts >= MOST_ATTEMPTS or _peak_memory() > MOST_MEMORY))


def _prepare(request: Prepare, tasks: dict[Source, RegisteredTask]) -> str:
    """Find the task; the answer is what went wrong."""
    source = request.source
    try:
        source.import_module()
        tasks[source] = _find(request)
    except Exception as error:  # a module is a stranger's code and may raise anything
        where = "" if source.file is None else f" in {source.file}"
        what = f"the process for the task body cannot import {source}{where}"
        return storable(f"{what}: {type(error).__name__}: {error}")
    return ""


class Pulse(Cancellation):
    """Sends the heartbeats of a body to the service, no more often than is of use."""

    __slots__ = ("_line",)

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def beat(self) -> None:
        last = self.beat_at
        if last is None or time.monotonic() - last >= SHORTEST_BEAT:
            super().beat()
            self._line.send(Beat())


def _run(task: RegisteredTask, request: Run, line: Line) -> AttemptResult:
    """The edge of an attempt. SystemExit ends the process, as it would anywhere."""
    cancellation = Pulse(line)
    context = TaskContext(request.order, cancellation)

    def end(number: int, _frame: FrameType | None) -> None:
        cancellation.set()
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        value = task.new_body()(context)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        return from_return(value, request.most_result)
    except SystemExit:
        raise
    except BaseException as error:
        return raised(error, context)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _find(request: Prepare) -> RegisteredTask:
    """The task: as its module registers it, or else (it was registered elsewhere) by its name there."""
    registered = REGISTRY.get(request.task_type)
    if registered is not None and registered.source.name == request.source.name:
        return registered
    return as_task(request.task_type, request.source.find())


def _peak_memory() -> int:
    """The most that this process ever held, in bytes. Where it is told, not by `getrusage`: that
    begins with what the parent held when it started this process."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MEMORY_UNIT


def _logged(record: logging.LogRecord) -> Logged:
    fields = {name: _plain(value) for name, value in record.__dict__.items() if name not in _STANDARD}
    trace = ""
    if record.exc_info:
        trace = "".join(traceback.format_exception(*record.exc_info))[-MOST_TRACEBACK:]
        trace = trace.encode("utf-8", "backslashreplace").decode()
    return Logged(record.name, record.levelno, storable(record.getMessage()), fields, trace)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    return value if isinstance(value, int) and abs(value) < 2**63 else storable(str(value))


def _exit(error: SystemExit) -> NoReturn:
    """End at once: threads that a body has left behind would hold up an ordinary end."""
    code = error.code
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    sys.stderr.flush()
    os._exit(code & 0xFF if isinstance(code, int) else 0 if code is None else 1)
