"""The audience: all observers, none of which can stop what it looks at."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from flow_manager.core.events import Event
from flow_manager.core.states import Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.ports.observer import Observer, Watcher

log = logging.getLogger(__name__)


class Audience:
    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        self._watchers: tuple[Watcher, ...] = ()

    def add(self, observer: Observer) -> None:
        """Tell one more."""
        self._observers = (*self._observers, observer)

    def watch(self, watcher: Watcher) -> None:
        """Tell one more of executions that are taken up and parked."""
        self._watchers = (*self._watchers, watcher)

    def recorded(self, view: View, events: Sequence[Event], wake: Wake | None) -> None:
        """A step is durable. With a wake of another reason than a claim it has parked the execution."""
        for observer in self._observers:
            try:
                observer.recorded(view, events)
            except Exception:  # an observer may be anybody's code
                log.exception("an observer failed")
        if wake is not None and wake.reason is not WakeReason.CLAIM:
            self.moved(view.waiting_for(wake))

    def moved(self, view: View) -> None:
        for watcher in self._watchers:
            try:
                watcher.moved(view)
            except Exception:  # as above
                log.exception("a watcher failed")
