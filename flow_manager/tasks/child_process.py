"""A child: a process for task bodies, seen from the process that started it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from flow_manager.tasks.messages import (
    Beat,
    Ended,
    Logged,
    Prepare,
    Ready,
    Run,
    TooLong,
    decode_answer,
    receive,
    send,
)
from flow_manager.tasks.source import Source

START_PATIENCE: Final = 60.0
"""Seconds for a child to start and find a task, importing its module."""

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from flow_manager.tasks.child import main; main(int(sys.argv[2]))"
)
"""What a child executes: it finds modules where this process finds them. Through PYTHONPATH, the
programs that a body starts would do so as well."""


def _ignore() -> None:
    """For those who do not listen to heartbeats."""


class Child:
    """A process for task bodies. One thread at a time talks to it; any may end what its owner asked for."""

    def __init__(self, interpreter: str, most_message: int) -> None:
        """Raises `OSError` if the process cannot be started."""
        level = logging.getLogger("flow_manager.task").getEffectiveLevel()
        path = json.dumps([os.path.abspath(folder) for folder in sys.path])
        # A session of its own: an interrupt from the terminal is not for it, and the programs that
        # a body has started can be ended with it.
        self._process = subprocess.Popen(
            [interpreter, "-P", "-c", _PROGRAM, path, str(level)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        self._most_message = most_message
        self.has_answered = False
        """Whether it has been of use before: one that has may since have died while it waited."""
        self._lock = threading.Lock()
        self._owner: object | None = None
        self._is_over = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def prepare(self, task_type: str, source: Source) -> str:
        """Have it find a task; the answer is what went wrong. Raises what `_ask` raises."""
        ready = self._ask(Prepare(task_type, source), until=time.monotonic() + START_PATIENCE)
        self.has_answered = True
        return ready.problem if isinstance(ready, Ready) else "the process answered something else"

    def run(self, request: Run, beat: Callable[[], None]) -> Ended:
        """Have it run one attempt; `beat` is called at each heartbeat. Raises what `_ask` raises."""
        ended = self._ask(request, beat)
        if not isinstance(ended, Ended):
            raise TooLong("not the end of an attempt")
        return ended

    def _ask(
        self, request: Prepare | Run, beat: Callable[[], None] = _ignore, until: float | None = None
    ) -> Ready | Ended:
        """Raises `EOFError` or `BrokenPipeError` if it is gone, `TimeoutError`, and `TooLong` or
        `msgspec.DecodeError` if its answer cannot be right."""
        send(self._orders, request)
        while True:
            answer: Ready | Ended | Logged | Beat = decode_answer(
                receive(self._answers, most=self._most_message, until=until)
            )
            if isinstance(answer, Logged):
                _log_again(answer)
            elif isinstance(answer, Beat):
                beat()
            else:
                return answer

    def own(self, job: object | None) -> None:
        with self._lock:
            self._owner = job

    def signal(self, number: int, owner: object | None) -> None:
        """Signal the process and all it has started, if it still works for this owner."""
        with self._lock:
            if self._owner is owner and not self._is_over:
                self._signal_all(number)

    def kill(self) -> None:
        """End it, whoever it works for."""
        with self._lock:
            if not self._is_over:
                self._signal_all(signal.SIGKILL)

    def end(self) -> int:
        """End it if it has not ended, and take leave of it; the answer is its exit code."""
        with self._lock:
            if not self._is_over:
                self._signal_all(signal.SIGKILL)
            self._is_over = True  # from here on, its number may belong to somebody else
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return code

    def _signal_all(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class ChildTraceback(Exception):
    """Carries the text of a traceback from a child into a line of the log."""


def _log_again(line: Logged) -> None:
    logger = logging.getLogger(line.logger)
    if logger.isEnabledFor(line.level):
        trace = (ChildTraceback, ChildTraceback(f"\n{line.traceback}"), None) if line.traceback else None
        record = logger.makeRecord(line.logger, line.level, "", 0, line.message, (), trace, extra=line.fields)
        logger.handle(record)
