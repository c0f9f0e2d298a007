"""Following executions: their events from the first on, each as soon as it is durable."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from flow_manager.core.events import Event, ExecutionEnded
from flow_manager.core.states import FOR_AN_OPERATOR
from flow_manager.core.view import View
from flow_manager.ports.store import Reader

LONGEST_SILENCE: Final = 1.0
"""Seconds after which the store is asked, whatever was or was not announced."""

Announced = tuple[int, Sequence[Event]]
"""Events that became durable, and the number of the last of them."""


class Followers:
    """An observer that hands events on to those who follow their execution."""

    def __init__(self) -> None:
        self._queues: dict[str, list[queue.SimpleQueue[Announced]]] = {}
        self._lock = threading.Lock()

    def recorded(self, view: View, events: Sequence[Event]) -> None:
        if not self._queues:
            return
        for announced in self._queues.get(view.execution_id, ()):
            announced.put((view.last_seq, events))

    def follow(self, execution_id: str, reader: Reader) -> Iterator[Event]:
        """As `Backend.follow`: announcements shorten the wait, the store is the truth."""
        announced: queue.SimpleQueue[Announced] = queue.SimpleQueue()
        self._add(execution_id, announced)
        try:
            seen = 0
            while True:
                fresh = reader.history(execution_id)[seen:]
                while fresh:
                    yield from fresh
                    seen += len(fresh)
                    if isinstance(fresh[-1], ExecutionEnded):
                        return
                    fresh = _next(announced, seen)
                if _waits_for_an_operator(reader.describe(execution_id)):
                    return
                with contextlib.suppress(queue.Empty):
                    announced.get(timeout=LONGEST_SILENCE)
        finally:
            self._remove(execution_id, announced)

    def _add(self, execution_id: str, announced: queue.SimpleQueue[Announced]) -> None:
        with self._lock:
            self._queues.setdefault(execution_id, []).append(announced)

    def _remove(self, execution_id: str, announced: queue.SimpleQueue[Announced]) -> None:
        with self._lock:
            queues = self._queues[execution_id]
            queues.remove(announced)
            if not queues:
                del self._queues[execution_id]


def _next(announced: queue.SimpleQueue[Announced], seen: int) -> Sequence[Event]:
    """The announced events that follow the first `seen`; none if the store must be asked."""
    with contextlib.suppress(queue.Empty):
        while True:
            last_seq, events = announced.get(timeout=LONGEST_SILENCE)
            if last_seq <= seen:
                continue
            return events[seen - last_seq :] if last_seq - len(events) <= seen else ()
    return ()


def _waits_for_an_operator(view: View) -> bool:
    return view.wake is not None and view.wake.reason in FOR_AN_OPERATOR
