"""An execution without an engine and without a store: it is told what happens, and decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flow_manager.core.children import ChildEnd, Children, ChildStart, ParentLink, ToChildren
from flow_manager.core.decide import next_action
from flow_manager.core.decision import Action, Circumstances, Plan
from flow_manager.core.definition import Flow, Outcome
from flow_manager.core.events import AttemptEnded, Event, ExecutionStarted
from flow_manager.core.mail import Mail
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View

START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
ERROR = TaskError("task.failed", "no answer")


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


def child_of(depth: int) -> ParentLink:
    return ParentLink("e0", 1, 1, 0, depth)


def signal(name: str, number: int, payload: Any = None, by: str = "", at: float = 0) -> Mail:
    return Mail(number, second(at), "signal", name, payload, by)


def answer(number: int, payload: Any, by: str = "", to: str = "approval/1/1") -> Mail:
    """By default to the question of the first attempt of the first task run."""
    return Mail(number, START, "answer", to, payload, by)


def cancellation(number: int = 1, reason: str = "", by: str = "") -> Mail:
    return Mail(number, START, "cancel", reason, None, by)


def child_end(index: int, status: str = "completed", output: Any = None) -> ChildEnd:
    """One that did not complete has an error with the code `child.<its index>`."""
    ended_as = ExecutionStatus(status)
    error = None
    if ended_as is not ExecutionStatus.COMPLETED:
        error = TaskError(f"child.{index}", "it went wrong")
    return ChildEnd(index, f"c{index}", ended_as, output, error)


def children_at(*ends: ChildEnd, still_open: int = 0) -> Children:
    """What a look at children tells: how they ended only if all have."""
    bad = sum(end.status is not ExecutionStatus.COMPLETED for end in ends)
    return Children(len(ends) + still_open, still_open, bad, 0, None if still_open else ends)


class Told:
    """`plan` is the last step: what it recorded, started, and had to say. `mail` is what was sent and
    not yet taken up."""

    def __init__(
        self,
        flow: Flow,
        *events: Event,
        parent: ParentLink | None = None,
        input: Mapping[str, Any] | None = None,
    ) -> None:
        began = ExecutionStarted(START, flow.id, input or {}, {}, parent)
        self.flow = flow
        self.history: list[Event] = [began, *events]
        self.view = View.fold("e1", self.history)
        self.plan = Plan()
        self.mail: list[Mail] = []

    def step(self, at: float = 0, *, mail: Sequence[Mail] = (), **known: Any) -> Action:
        """Decide, so many seconds after the start, and record. `mail` is what has been sent since;
        `known` is what else may be known of `Circumstances`."""
        self.mail += mail
        known = {"task_types": frozenset("abcdefu"), **known}
        self.plan = Plan()
        action = next_action(
            self.flow, self.view, self.plan, Circumstances(second(at), 0.25, mail=tuple(self.mail), **known)
        )
        self.history += self.plan.events
        self.mail = [each for each in self.mail if each.number not in self.plan.taken]
        assert self.view == View.fold("e1", self.history)
        return action

    def body(
        self, outcome: Outcome = "success", data: Any = None, *, error: TaskError = ERROR, at: float = 0
    ) -> Told:
        """The body of the open attempt has ended."""
        view = self.view
        failed = None if outcome == "success" else error
        ended = AttemptEnded(second(at), view.task, view.run, view.attempt, outcome, data=data, error=failed)
        self.view.apply(ended)
        self.history.append(ended)
        return self

    # -- what came of it

    @property
    def recorded(self) -> list[str]:
        """The kinds of events of the last step."""
        return [type(event).__name__ for event in self.plan.events]

    @property
    def started(self) -> list[ChildStart]:
        return self.plan.children

    @property
    def said(self) -> list[ToChildren]:
        return self.plan.to_children

    @property
    def tasks(self) -> list[str]:
        """Which tasks ran, and how each attempt ended."""
        return [f"{entry.task}:{entry.status}" for entry in self.view.attempts]

    @property
    def end(self) -> tuple[str, str | None]:
        """Status and code of the error."""
        return self.view.status.value, None if self.view.error is None else self.view.error.code
