"""A recording: the history of an execution, taken apart into what came of each attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from flow_manager.core.definition import END
from flow_manager.core.events import (
    INTERVENTIONS,
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    SignalReceived,
    TaskSkipped,
)
from flow_manager.core.states import ExecutionStatus

STILL_OPEN: Final = "still open"
"""Where an execution goes that has not ended."""

Attempts = list["RecordedAttempt"]


class Visit(NamedTuple):
    """A task run, or a task that was skipped."""

    task: str
    is_skipped: bool = False

    def __str__(self) -> str:
        return f"{self.task} (skipped)" if self.is_skipped else self.task


class RecordedAttempt:
    """What came of an attempt; `end` is None if that was never recorded."""

    __slots__ = ("end", "signal", "started")

    def __init__(self, started: AttemptStarted) -> None:
        self.started = started
        self.end: AttemptEnded | AttemptLost | AttemptCancelled | None = None
        self.signal: SignalReceived | None = None

    @property
    def duration(self) -> timedelta:
        return timedelta(0) if self.end is None else self.end.at - self.started.at

    @property
    def until(self) -> datetime | None:
        """How long it would have waited."""
        return None if self.started.wait is None else self.started.wait.until


class Recording:
    """A history up to the first end of its execution, or to where an operator made it go another way.
    Pauses, and attempts that were given back, are left out: it went on as if nothing had happened."""

    def __init__(self, history: Sequence[Event]) -> None:
        began = history[0]
        if not isinstance(began, ExecutionStarted):
            raise ValueError("a history begins with the start of its execution")
        self.began = began
        self.events: list[Event] = []
        self.visits: list[Visit] = []
        """Its way through the flow; what was undone is not part of it."""
        self.status: ExecutionStatus | None = None
        """How it ended; None if it has not."""
        self.cancelled: ExecutionEnding | None = None
        """Its end, if somebody asked for that."""
        self._runs: dict[tuple[str, bool], list[Attempts]] = {}
        self._run = 0
        self._attempts: Attempts = []
        for event in history:
            if isinstance(event, ExecutionPaused | ExecutionResumed):
                continue
            if isinstance(event, INTERVENTIONS):
                break
            take = _TAKE.get(type(event))
            if take is not None:
                take(self, event)
            if type(event) is not AttemptReleased:
                self.events.append(event)
            if self.status is not None:
                break

    def attempt(self, task: str, is_undoing: bool, visit: int, attempt: int) -> RecordedAttempt | None:
        """What came of an attempt of the task run that is this visit to the task, both from 1."""
        runs = self._runs.get((task, is_undoing), ())
        attempts = runs[visit - 1] if visit <= len(runs) else ()
        return attempts[attempt - 1] if attempt <= len(attempts) else None

    def choice(self, number: int) -> str:
        """Where it went after so many visits."""
        return choice(self.visits, number, self.status)

    def _add_run(self, task: str, is_undoing: bool) -> None:
        self._attempts = []
        self._runs.setdefault((task, is_undoing), []).append(self._attempts)

    def _started(self, event: AttemptStarted) -> None:
        if event.run != self._run:
            self._run = event.run
            self._add_run(event.task, event.compensates > 0)
            if not event.compensates:
                self.visits.append(Visit(event.task))
        self._attempts.append(RecordedAttempt(event))

    def _skipped(self, event: TaskSkipped) -> None:
        self._run = event.run
        self._add_run(event.task, False)
        self.visits.append(Visit(event.task, True))

    def _ended(self, event: AttemptEnded | AttemptLost | AttemptCancelled) -> None:
        self._attempts[-1].end = event

    def _signal(self, event: SignalReceived) -> None:
        self._attempts[-1].signal = event

    def _released(self, _event: AttemptReleased) -> None:
        self._attempts.pop()
        self.events.pop()

    def _ending(self, event: ExecutionEnding) -> None:
        if event.number:
            self.cancelled = event

    def _end(self, event: ExecutionEnded) -> None:
        self.status = event.status


def choice(visits: Sequence[Visit], number: int, status: ExecutionStatus | None) -> str:
    """Where a way goes after so many visits, in words."""
    if number < len(visits):
        return str(visits[number])
    return STILL_OPEN if status is None else f"{END}: {status.value}"


_TAKE: Final[dict[type, Callable[[Recording, Any], None]]] = {
    AttemptStarted: Recording._started,
    AttemptEnded: Recording._ended,
    AttemptLost: Recording._ended,
    AttemptCancelled: Recording._ended,
    AttemptReleased: Recording._released,
    TaskSkipped: Recording._skipped,
    SignalReceived: Recording._signal,
    ExecutionEnding: Recording._ending,
    ExecutionEnded: Recording._end,
}
