"""Those who wait for an execution: a thread inside `execute`, and the future of `submit`.

Both are told from the engine's loop.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final, Protocol

from flow_manager.core.view import View

log = logging.getLogger(__name__)

START_LOOK: Final = 0.02
"""Seconds between two looks whether a start is durable."""


class Waiter(Protocol):
    """Somebody who waits for an execution; told from the engine's loop, exactly one last word."""

    def started(self, execution_id: str) -> bool:
        """The start is durable. The answer: whether it waits for the end as well."""

    def ended(self, view: View) -> None: ...

    def left(self, execution_id: str) -> None:
        """It goes on without this engine, or waits for an operator: look it up."""

    def failed(self, error: Exception) -> None: ...


class Waiters:
    """Who waits for which execution. Each hears one last word, whatever happens to another."""

    def __init__(self) -> None:
        self._by_execution: dict[str, Waiter] = {}

    def add(self, execution_id: str, waiter: Waiter) -> None:
        self._by_execution[execution_id] = waiter

    def forget(self, execution_id: str) -> None:
        self._by_execution.pop(execution_id, None)

    def ended(self, view: View) -> None:
        waiter = self._by_execution.pop(view.execution_id, None)
        if waiter is not None:
            waiter.ended(view)

    def left(self, execution_id: str) -> None:
        """It goes on elsewhere or later."""
        waiter = self._by_execution.pop(execution_id, None)
        if waiter is not None:
            waiter.left(execution_id)

    def all_left(self) -> None:
        for execution_id in list(self._by_execution):
            try:
                self.left(execution_id)
            except Exception:  # the others must hear of it all the same
                log.exception("somebody who waited for execution %s could not be told", execution_id)


class Reply:
    """The other end of `execute`: told by the orchestrator, read by the caller's thread."""

    __slots__ = ("_answers", "execution_id", "is_left", "waits")

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.execution_id: str | None = None
        self.is_left = False
        self._answers: queue.SimpleQueue[View | Exception | None] = queue.SimpleQueue()

    def started(self, execution_id: str) -> bool:
        self.execution_id = execution_id
        if not self.waits:
            self._answers.put(None)
        return self.waits

    def ended(self, view: View) -> None:
        self._answers.put(view)

    def left(self, _execution_id: str) -> None:
        self.is_left = True
        self._answers.put(None)

    def failed(self, error: Exception) -> None:
        self._answers.put(error)

    def take(self, patience: float | None) -> View | None:
        """The ended execution; None if it goes on, or nothing was heard within `patience` seconds.
        Raises what the start has failed with."""
        try:
            answer = self._answers.get(timeout=patience)
        except queue.Empty:
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def take_start(self, patience: float) -> View | None:
        """Wait until the start is durable; an execution that has ended meanwhile is the answer.
        Hardly ever waits: only a store that stalls answers later than the caller's own patience."""
        deadline = time.monotonic() + patience
        while self.execution_id is None and time.monotonic() < deadline:
            view = self.take(START_LOOK)
            if view is not None:
                return view
        return None


class Promise:
    """The other end of `submit`. Its future cannot be cancelled: the execution goes on anyway."""

    __slots__ = ("_describe", "_lookups", "future")

    def __init__(self, describe: Callable[[str], View], lookups: Executor) -> None:
        self.future: Future[View] = Future()
        self.future.set_running_or_notify_cancel()
        self._describe = describe
        self._lookups = lookups

    def started(self, _execution_id: str) -> bool:
        return True

    def ended(self, view: View) -> None:
        self.future.set_result(view)

    def left(self, execution_id: str) -> None:
        """The store is asked on another thread, so that it cannot hold up the loop."""
        self._lookups.submit(self._look_up, execution_id)

    def failed(self, error: Exception) -> None:
        self.future.set_exception(error)

    def _look_up(self, execution_id: str) -> None:
        try:
            self.future.set_result(self._describe(execution_id))
        except Exception as error:  # the edge of a lookup: whoever waits hears of it
            self.future.set_exception(error)
