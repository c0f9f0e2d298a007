"""The engine's loop on a thread of its own, and the one way onto it from other threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from flow_manager.engine.watchdog import Watchdog
from flow_manager.errors import OutcomeUnknown, ShuttingDown

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Call = tuple[Callable[..., None], tuple[Any, ...]]


class LoopThread:
    """Runs from its making until `stop`. `die` is called with whatever ends the loop before that."""

    def __init__(self, die: Callable[[BaseException], None]) -> None:
        self._die = die
        self._calls: list[Call] = []
        self._is_woken = False
        self._is_over = False
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._watchdog = Watchdog(self._loop)
        self._thread = threading.Thread(target=self._run, name="flow-manager-engine", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call on the loop, soon. Waking the loop costs both threads a change of hands, so only the
        first of several calls does: the loop takes all that have come by then. Raises `ShuttingDown`."""
        with self._lock:
            if self._is_over:
                raise ShuttingDown("the service has stopped and accepts nothing")
            self._calls.append((function, arguments))
            if not self._is_woken:
                self._is_woken = True
                self._loop.call_soon_threadsafe(self._take_calls)

    def complete(self, work: Coroutine[Any, Any, Answer], patience: float | None = None) -> Answer:
        """Run a coroutine on the loop and wait for its answer. Raises what it raises, `ShuttingDown`, and
        `OutcomeUnknown` if it takes longer than `patience` seconds; it goes on all the same."""
        with self._lock:
            if self._is_over:
                work.close()
                raise ShuttingDown("the service has stopped and accepts nothing")
            done: Future[Answer] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result(patience)
        except TimeoutError as error:
            raise OutcomeUnknown("the answer took too long; whether it happened is not known") from error

    def stop(self) -> None:
        """Let what was called before be taken, end the loop, and wait for the thread."""
        with self._lock:
            self._is_over = True
        self._watchdog.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _take_calls(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
            self._is_woken = False
        for function, arguments in calls:
            try:
                function(*arguments)
            except Exception:  # the edge of a call: the ones behind it must not wait for ever
                log.exception("a call to the engine failed")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._watchdog.start()
        try:
            while not self._turn():
                pass
        except BaseException as error:  # the edge of the loop: without its engine the process must not go on
            self._die(error)
        finally:
            self._loop.close()

    def _turn(self) -> bool:
        """Turn the loop until it is stopped. False if a task's own task left it by `sys.exit` or the
        like, which asyncio hands on to whoever turns the loop: that must not end the engine."""
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            log.warning("something that a task started on the loop raised %r; going on", error)
            return False
        return True
