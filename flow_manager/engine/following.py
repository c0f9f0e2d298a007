"""Following executions: what happens to them, as soon as it is durable.

The store is the truth. What an observer is told only wakes those who follow, so that nobody keeps events
for a follower that is slow: it reads them when it comes to it.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence
from typing import Final

from flow_manager.core.events import Event
from flow_manager.core.states import FOR_AN_OPERATOR, ExecutionStatus
from flow_manager.core.view import View
from flow_manager.ports.live import Change, Changes, News
from flow_manager.ports.store import Reader

LONGEST_SILENCE: Final = 1.0
"""Seconds after which the store is asked, whatever was or was not announced."""
MOST_CHANGES: Final = 1_000
"""Changes of status that are kept for those who come back."""
MOST_MOVING: Final = 20_000
"""Executions whose last status is remembered; of one that was forgotten a status may be told twice."""
BETWEEN_CHANGES: Final = 0.2
"""Seconds in which changes are gathered: nobody can look at thousands of them one by one."""


class Followers:
    """Implements `ports.live.Live`; an observer and a watcher of the engine whose changes it tells."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._followers: dict[str, list[threading.Event]] = {}
        self._watchers: list[threading.Event] = []
        self._closing = threading.Event()
        self._boot = secrets.token_hex(4)
        self._told = 0
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._statuses: OrderedDict[str, ExecutionStatus] = OrderedDict()

    # -- being told

    def recorded(self, view: View, events: Sequence[Event]) -> None:
        for follower in self._followers.get(view.execution_id, ()):
            follower.set()
        self.moved(view)

    def moved(self, view: View) -> None:
        if self._statuses.get(view.execution_id) is not view.status:
            self._note(view)

    def _note(self, view: View) -> None:
        """One that moves is told of at each of its steps; others come back with another status."""
        change = Change(view.execution_id, view.flow_id, view.status, view.started_at, view.ended_at)
        with self._lock:
            self._changes.append(change)
            self._told += 1
            if view.wake is None and not view.is_ended:
                self._statuses[view.execution_id] = view.status
                if len(self._statuses) > MOST_MOVING:
                    self._statuses.popitem(last=False)
            else:
                self._statuses.pop(view.execution_id, None)
        for watcher in self._watchers:
            if not watcher.is_set():
                watcher.set()

    def close(self) -> None:
        """Nothing more will happen: let all who follow go."""
        self._closing.set()
        with self._lock:
            for follower in itertools.chain(self._watchers, *self._followers.values()):
                follower.set()

    # -- following

    def events(self, execution_id: str, after: int = 0) -> Generator[News, None, None]:
        with self._following(execution_id) as announced:
            while not self._closing.is_set():
                announced.clear()
                news = self._reader.news(execution_id, after)
                after += len(news.events)
                yield news
                if news.is_over:
                    return
                if not news.events:
                    announced.wait(LONGEST_SILENCE)

    def follow(self, execution_id: str) -> Iterator[Event]:
        """As `Backend.follow`."""
        for news in self.events(execution_id):
            yield from news.events
            if not news.events and _waits_for_an_operator(self._reader.describe(execution_id)):
                return

    def changes(self, position: str | None = None) -> Generator[Changes, None, None]:
        announced = threading.Event()
        with self._lock:
            self._watchers = [*self._watchers, announced]
        try:
            told, is_reset = self._place_of(position)
            yield Changes((), self._position(told), is_reset)
            while not self._closing.is_set():
                if announced.wait(LONGEST_SILENCE):
                    time.sleep(BETWEEN_CHANGES)
                announced.clear()
                changes, told, is_reset = self._since(told)
                yield Changes(changes, self._position(told), is_reset)
        finally:
            with self._lock:
                self._watchers = [each for each in self._watchers if each is not announced]

    def _place_of(self, position: str | None) -> tuple[int, bool]:
        """How many changes were told up to a position; and whether it is unknown, and now takes its place."""
        boot, _, number = (position or "").partition("-")
        is_ours = boot == self._boot and number.isdecimal() and int(number) <= self._told
        return (int(number), False) if is_ours else (self._told, position is not None)

    def _position(self, told: int) -> str:
        return f"{self._boot}-{told}"

    def _since(self, told: int) -> tuple[Sequence[Change], int, bool]:
        with self._lock:
            fresh, now = self._told - told, self._told
            kept = list(self._changes)[-fresh:] if fresh else []
        newest = {change.execution_id: change for change in kept}
        last = {id(change) for change in newest.values()}
        return [change for change in kept if id(change) in last], now, fresh > len(kept)

    @contextlib.contextmanager
    def _following(self, execution_id: str) -> Iterator[threading.Event]:
        announced = threading.Event()
        with self._lock:
            others = self._followers.get(execution_id, [])
            self._followers[execution_id] = [*others, announced]
        try:
            yield announced
        finally:
            with self._lock:
                left = [each for each in self._followers[execution_id] if each is not announced]
                if left:
                    self._followers[execution_id] = left
                else:
                    del self._followers[execution_id]


def _waits_for_an_operator(view: View) -> bool:
    return view.wake is not None and view.wake.reason in FOR_AN_OPERATOR
