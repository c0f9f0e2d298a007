"""A virtual execution, and the script that says what comes of its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from flow_manager.core.children import ChildEnd, Children
from flow_manager.core.decision import RunAttempt
from flow_manager.core.definition import Flow, Outcome, Task
from flow_manager.core.events import AttemptEnded, Event, ExecutionEnded, Wait
from flow_manager.core.mail import Mail
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, Wake
from flow_manager.core.view import Phase, View

NO_TIME: Final = timedelta(0)


class Answer(msgspec.Struct, frozen=True):
    """What comes of an attempt, and when. `by` is who sends it, if it is a signal or an answer."""

    outcome: Outcome = "success"
    message: str = ""
    data: Any = None
    error: TaskError | None = None
    duration: timedelta = NO_TIME
    by: str = ""


class Script(Protocol):
    """What comes of the tasks of virtual executions."""

    def attempt(self, execution: VirtualExecution, action: RunAttempt) -> Answer:
        """What comes of this attempt."""

    def stand_in(self, execution: VirtualExecution, task: Task, wait: Wait) -> Answer | None:
        """What an attempt that waits for a signal, an answer or children comes to; None if it waits
        for whatever will be sent, or for its children."""

    def crashes(self, execution: VirtualExecution, task: Task) -> bool:
        """Whether the worker is lost after the start of this attempt was recorded."""


@dataclass(slots=True, eq=False)
class VirtualExecution:
    """An execution, and what a store would keep of it. `path` is that of the tasks that started it,
    each with a slash behind it."""

    flow: Flow
    view: View
    path: str = ""
    parent: VirtualExecution | None = None
    events: list[Event] = field(default_factory=list)
    wake: Wake | None = None
    """What it waits for; None while an attempt runs, and after the end."""
    ended: ExecutionEnded | None = None
    mail: list[Mail] = field(default_factory=list)
    newest_mail: int = 0
    children: dict[tuple[int, int], list[VirtualExecution]] = field(default_factory=dict)
    """The children of each attempt, by its run and number."""
    stood_in: set[tuple[int, int]] = field(default_factory=set)
    """Attempts whose answer the script gives, so that they have no children."""
    turn: int = 0
    """Counts what it was to do next; what belongs to an earlier turn is void."""

    def place_of(self, task: Task) -> str:
        """The name of a task, with those of the tasks above it."""
        return self.path + task.name

    def record(self, event: Event) -> None:
        self.view.apply(event)
        self.events.append(event)

    def ended_by(self, answer: Answer, started_at: datetime) -> AttemptEnded:
        """The end of the open attempt."""
        view, at = self.view, started_at + answer.duration
        what = (answer.outcome, answer.message, answer.data, answer.error)
        return AttemptEnded(at, view.task, view.run, view.attempt, *what)

    def waits_in(self, run: int, attempt: int) -> bool:
        """Whether this attempt is open and waits."""
        view = self.view
        return view.phase is Phase.WAITING and (view.run, view.attempt) == (run, attempt)

    def look(self, run: int, attempt: int) -> Children:
        """What has become of the children of an attempt."""
        if (run, attempt) in self.stood_in and self.view.wait is not None:
            return Children(self.view.wait.count, 1, 0)
        children = self.children.get((run, attempt), ())
        statuses = [child.ended.status for child in children if child.ended is not None]
        unsuccessful = len(statuses) - statuses.count(ExecutionStatus.COMPLETED)
        is_open = len(children) - len(statuses)
        if is_open:
            return Children(len(children), is_open, unsuccessful)
        ends = tuple(end for index, child in enumerate(children) if (end := child.end_at(index)) is not None)
        return Children(len(children), 0, unsuccessful, 0, ends)

    def end_at(self, index: int) -> ChildEnd | None:
        """How it ended, for its parent whose child of this number it is."""
        if self.ended is None:
            return None
        return ChildEnd(index, self.view.execution_id, self.ended.status, self.ended.output, self.ended.error)
