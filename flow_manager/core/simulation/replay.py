"""A replay: a recorded execution, on its way through another flow than its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flow_manager.core.children import Children
from flow_manager.core.decide import deadline_of, decide
from flow_manager.core.decision import (
    Action,
    Circumstances,
    DecideAgain,
    Finish,
    LookAtChildren,
    Loss,
    Park,
    RunAttempt,
)
from flow_manager.core.definition import Flow
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionEnding,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
)
from flow_manager.core.mail import Mail
from flow_manager.core.simulation.recording import RecordedAttempt, Recording, Visit, choice
from flow_manager.core.simulation.virtual_engine import EVERY_TYPE
from flow_manager.core.states import FAR_AWAY, TIMED
from flow_manager.core.view import Phase, View

MOST_DECISIONS: Final = 50_000
"""Decisions of one execution, after which it is left as it is."""
NO_CHILDREN: Final = Children(0, 0, 0, 0, ())

_SHORTEST, _LONGEST = 0.0, 1.0 - 2**-53
"""Chances with which a wait is as short, and as long, as it can be."""


class Difference(msgspec.Struct, frozen=True):
    """Where the ways part: after task run `run` (0 is the start) of `task`."""

    task: str
    run: int
    recorded: str
    new: str


class Need(msgspec.Struct, frozen=True):
    """An attempt whose result was never recorded: of the task run that is visit `visit` to the task."""

    task: str
    visit: int
    attempt: int


class _Unrecorded(Exception):
    """A result that is needed was never recorded."""

    def __init__(self, need: Need) -> None:
        super().__init__()
        self.need = need


class Replay:
    """One execution, on its way through the edited flow.

    It is in step as long as its events are those that were recorded; `_at` is the number of the next.
    """

    def __init__(
        self,
        flow: Flow,
        recording: Recording,
        input: Mapping[str, Any],
        secrets: Mapping[str, str],
        execution_id: str,
    ) -> None:
        self._flow = flow
        self._recording = recording
        self._secrets = secrets
        self._view = View(execution_id)
        self._view.apply(recording.began)
        self._view.input = input
        self._now = recording.began.at
        self._at = 1
        self._in_step = True
        self.need: Need | None = None
        """What it could not go on without."""
        self._visits: list[Visit] = []
        self._counts: dict[tuple[str, bool], int] = {}
        self._loss = Loss("")
        self._is_cancelled = False
        self._children: Children | None = None

    def run(self) -> None:
        """To its end, or as far as the recorded results lead."""
        try:
            for _ in range(MOST_DECISIONS):
                if self._has_come_as_far:
                    return
                action = self._decide()
                if self._has_come_as_far or not self._act(action):
                    return
        except _Unrecorded as unrecorded:
            self.need = unrecorded.need

    def difference(self) -> Difference | None:
        """Where the ways part first. One that could not go on has not parted by being shorter."""
        if self._has_come_as_far:
            return None
        mine, theirs = self._visits, self._recording
        last = len(mine) if self.need is None else len(mine) - 1
        for number in range(last + 1):
            new, recorded = choice(mine, number, self._view.status), theirs.choice(number)
            if new != recorded:
                return Difference(mine[number - 1].task if number else "", number, recorded, new)
        return None

    @property
    def _has_come_as_far(self) -> bool:
        """Whether it did what was recorded of an execution that has not ended."""
        recording = self._recording
        return self._in_step and recording.status is None and self._at >= len(recording.events)

    # -- deciding

    def _decide(self) -> Action:
        following = self._following
        if following is not None:
            self._now = max(self._now, following.at)
        given = Circumstances(
            self._now,
            _SHORTEST if type(following) is RetryScheduled else _LONGEST,
            EVERY_TYPE,
            True,
            self._loss,
            self._mail(following),
            self._children,
            self._secrets,
        )
        self._children = None
        decision = decide(self._flow, self._view, given)
        for event in decision.events:
            self._record(event)
        return decision.action

    @property
    def _following(self) -> Event | None:
        """What was recorded next, as long as it is in step."""
        events = self._recording.events
        return events[self._at] if self._in_step and self._at < len(events) else None

    def _mail(self, following: Event | None) -> Sequence[Mail]:
        """The cancellation, if it was cancelled, at its time."""
        cancelled = self._recording.cancelled
        if cancelled is None or self._view.ending is not None:
            return ()
        is_next = type(following) is ExecutionEnding and following is cancelled
        is_due = following is None and self._now >= cancelled.at
        if not (is_next or is_due or self._is_cancelled):
            return ()
        reason = "" if cancelled.error is None else cancelled.error.message
        return (Mail(cancelled.number, cancelled.at, "cancel", reason, None, cancelled.by),)

    def _record(self, event: Event) -> None:
        if self._in_step:
            self._in_step = agree(event, self._following)
            self._at += 1
        if isinstance(event, TaskSkipped):
            self._visits.append(Visit(event.task, True))
            self._count(event.task, False)
        elif isinstance(event, AttemptStarted) and event.attempt == 1:
            if not event.compensates:
                self._visits.append(Visit(event.task))
            self._count(event.task, event.compensates > 0)
        self._view.apply(event)

    def _count(self, task: str, is_undoing: bool) -> None:
        self._counts[task, is_undoing] = self._counts.get((task, is_undoing), 0) + 1

    # -- acting

    def _act(self, action: Action) -> bool:
        """Whether it goes on."""
        if isinstance(action, DecideAgain):
            return True
        if isinstance(action, RunAttempt):
            self._attempt()
            return True
        if isinstance(action, Finish):
            return False
        view = self._view
        is_wait = view.phase is Phase.WAITING and view.wait is not None and view.wait.kind != "time"
        if is_wait and (view.ending is None or view.compensates):
            return self._wait()
        if isinstance(action, LookAtChildren):  # of an attempt that is given up
            self._children = NO_CHILDREN
            return True
        return isinstance(action, Park) and self._pass(action)

    def _pass(self, action: Park) -> bool:
        """Let the time pass that it waits. In step, the time of the next event is known."""
        if action.wake.reason not in TIMED or action.wake.due_at >= FAR_AWAY:
            return False
        if self._following is None or action.wake.due_at > self._following.at:
            self._now = max(self._now, action.wake.due_at)
        return True

    def _attempt(self) -> None:
        """A body: what came of it then comes of it now."""
        attempt = self._recorded()
        end = attempt.end
        if isinstance(end, AttemptLost):
            self._loss = Loss(end.reason, end.blame)
        elif isinstance(end, AttemptCancelled):
            self._cancel(attempt)
        elif end is not None and _is_loss(end):
            self._loss = Loss(end.message)
        else:
            self._end(attempt, self._end_of(attempt))

    def _wait(self) -> bool:
        """A signal, an answer or children: what came then comes now, unless it is too late for it."""
        view, attempt = self._view, self._recorded()
        ends_at = self._end_of(attempt)
        is_as_recorded = view.wait is not None and view.wait.until == attempt.until
        until = None if view.wait is None or is_as_recorded else view.wait.until
        due_at = min(
            (each for each in (until, deadline_of(self._flow, view)) if each is not None), default=None
        )
        if due_at is not None and due_at <= ends_at and not self._comes_now(attempt):
            self._now = max(self._now, due_at)
        elif isinstance(attempt.end, AttemptEnded):
            if attempt.signal is not None:
                signal = attempt.signal
                self._record(SignalReceived(ends_at, signal.name, signal.number, signal.payload, signal.by))
            self._end(attempt, ends_at)
        else:
            self._cancel(attempt)
        return True

    def _comes_now(self, attempt: RecordedAttempt) -> bool:
        """Whether this is what was recorded next."""
        following = self._following
        return following is not None and (following is attempt.end or following is attempt.signal)

    def _cancel(self, attempt: RecordedAttempt) -> None:
        if self._recording.cancelled is None:
            raise self._unrecorded(attempt.started.attempt)
        self._is_cancelled = True

    def _recorded(self) -> RecordedAttempt:
        view = self._view
        is_undoing = view.compensates > 0
        visit = self._counts[view.task, is_undoing]
        attempt = self._recording.attempt(view.task, is_undoing, visit, view.attempt)
        if attempt is None or attempt.end is None:
            raise self._unrecorded(view.attempt)
        return attempt

    def _unrecorded(self, attempt: int) -> _Unrecorded:
        task = self._view.task
        return _Unrecorded(Need(task, self._counts[task, self._view.compensates > 0], attempt))

    def _end_of(self, attempt: RecordedAttempt) -> datetime:
        assert attempt.end is not None
        if self._in_step:
            return max(self._now, attempt.end.at)
        return self._now + attempt.duration

    def _end(self, attempt: RecordedAttempt, at: datetime) -> None:
        end, view = attempt.end, self._view
        assert isinstance(end, AttemptEnded)
        self._now = at
        self._record(
            AttemptEnded(at, view.task, view.run, view.attempt, end.outcome, end.message, end.data, end.error)
        )


def agree(event: Event, recorded: Event | None) -> bool:
    """Whether two events are of the same kind, about the same attempt, with the same choice."""
    if type(event) is not type(recorded):
        return False
    if isinstance(event, Routed) and isinstance(recorded, Routed):
        return (event.task, event.to) == (recorded.task, recorded.to)
    if isinstance(event, AttemptStarted) and isinstance(recorded, AttemptStarted):
        return (event.task, event.run, event.attempt) == (recorded.task, recorded.run, recorded.attempt)
    return True


def _is_loss(end: AttemptEnded) -> bool:
    """Whether this is what a decision made of a lost attempt: its error says more than the reason."""
    if end.outcome != "unknown" or end.error is None or end.error.code != "task.lost":
        return False
    return end.error.message.startswith(f"{end.message};")
