"""The observer: told what has become durable, in order, per execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flow_manager.core.events import Event
from flow_manager.core.view import View


class Observer(Protocol):
    def recorded(self, view: View, events: Sequence[Event]) -> None:
        """`events` were committed for the execution of `view`. Must be quick and must not raise."""


class Watcher(Protocol):
    def moved(self, view: View) -> None:
        """The execution was taken up; or it was parked, with the wake of the view. Must be quick and must
        not raise."""
