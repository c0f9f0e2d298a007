"""A virtual engine: drives an execution and its children by the same decisions as the real one.

It has no store, no worker and no clock of its own: results come from a script, time jumps to the next
thing that is due, and all of it is gone when the caller lets go. What the store does between parents
and children, and with what is sent, is done here in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from flow_manager.core.children import ChildStart, ParentLink, ToChildren
from flow_manager.core.decide import deadline_of, next_action
from flow_manager.core.decision import (
    NOTHING,
    Action,
    Circumstances,
    Finish,
    LookAtChildren,
    Park,
    Plan,
    RunAttempt,
)
from flow_manager.core.definition import Flow, Task
from flow_manager.core.events import (
    TAKING_UP,
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Wait,
)
from flow_manager.core.mail import Mail, MailKind
from flow_manager.core.results import TaskError
from flow_manager.core.simulation.virtual_execution import NO_TIME, Answer, Script, VirtualExecution
from flow_manager.core.simulation.virtual_time import VirtualTime
from flow_manager.core.states import FAR_AWAY, TIMED, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View

MOST_STEPS: Final = 10_000
"""Steps of an execution and its children together, after which they are left as they are."""
MOST_EVENTS: Final = 100_000
"""Events of all their histories together."""
MOST_BYTES: Final = 16 << 20
"""Bytes of JSON that all their results together may have."""
MOST_TIME: Final = timedelta(days=36_600)
"""Virtual time after which they are left as they are."""

_ENDS: Final = frozenset({AttemptEnded, ExecutionEnded})


class EveryType(Container[str]):
    """The code of every task type is at hand: none is needed."""

    def __contains__(self, _: object) -> bool:
        return True


EVERY_TYPE: Final = EveryType()


class _BoundReached(Exception):
    """The simulation has done all that it may do."""


class VirtualEngine:
    """Runs executions in virtual time. `executions` are all there were, in the order of their start;
    `stopped` says why they were left as they are, if a bound was reached."""

    def __init__(
        self,
        script: Script,
        now: datetime,
        chance: float,
        secrets: Mapping[str, str] = NOTHING,
    ) -> None:
        self.executions: list[VirtualExecution] = []
        self.stopped = ""
        self._script = script
        self._chance = chance
        self._secrets = secrets
        self._time = VirtualTime(now)
        self._latest = now + MOST_TIME
        self._steps = 0
        self._events = 0
        self._bytes = 0

    @property
    def now(self) -> datetime:
        return self._time.now

    def start(self, flow: Flow, input: Mapping[str, Any], labels: Mapping[str, str]) -> VirtualExecution:
        """An execution that begins now."""
        return self._begin(flow, ExecutionStarted(self.now, flow.id, input, labels))

    def send(self, execution: VirtualExecution, at: datetime, name: str, payload: Any, by: str) -> None:
        """Send it a signal at this time."""
        send = partial(self._post, execution, "signal", name, payload, by)
        self._time.plan(at, lambda: execution.ended is None, send)

    def run(self) -> None:
        """Go on until nothing is due any more."""
        try:
            while (act := self._time.next()) is not None:
                if self.now > self._latest:
                    raise _BoundReached(f"{MOST_TIME.days} days of virtual time are over")
                act()
        except _BoundReached as bound:
            self.stopped = str(bound)

    # -- driving

    def _begin(
        self, flow: Flow, began: ExecutionStarted, path: str = "", parent: VirtualExecution | None = None
    ) -> VirtualExecution:
        execution_id = str(UUID(int=len(self.executions) + 1))
        execution = VirtualExecution(flow, View(execution_id), path, parent)
        execution.record(began)
        self.executions.append(execution)
        self._wake(execution)
        return execution

    def _plan_turn(self, execution: VirtualExecution, at: datetime, act: Callable[[], None]) -> None:
        """The next thing that it does, unless something else comes before."""
        execution.turn = turn = execution.turn + 1
        self._time.plan(at, lambda: execution.turn == turn, act)

    def _wake(self, execution: VirtualExecution) -> None:
        self._park(execution, Wake(WakeReason.DUE, self.now))

    def _park(self, execution: VirtualExecution, wake: Wake) -> None:
        execution.wake = wake
        if wake.reason in TIMED and wake.due_at < FAR_AWAY:
            self._plan_turn(execution, wake.due_at, partial(self._drive, execution))

    def _drive(self, execution: VirtualExecution) -> None:
        """Until it ends, parks, or an attempt takes time."""
        execution.wake = None
        while True:
            action = self._step(execution)
            if isinstance(action, Park):
                return self._park(execution, action.wake)
            if isinstance(action, Finish):
                return self._end(execution)
            assert isinstance(action, RunAttempt)
            if not self._attempt(execution, action):
                return None

    def _step(self, execution: VirtualExecution) -> Action:
        """Decide and record."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise _BoundReached(f"the executions have had all the {MOST_STEPS} steps that they may have")
        if self._events > MOST_EVENTS:
            raise _BoundReached(f"their histories together have more than {MOST_EVENTS} events")
        plan, children = Plan(), None
        while True:
            given = Circumstances(
                self.now,
                self._chance,
                EVERY_TYPE,
                mail=tuple(execution.mail),
                children=children,
                secrets=self._secrets,
            )
            action = next_action(execution.flow, execution.view, plan, given)
            if not isinstance(action, LookAtChildren):
                break
            children = execution.look(action.run, action.attempt)
        self._record(execution, plan)
        return action

    def _record(self, execution: VirtualExecution, plan: Plan) -> None:
        """What the transaction of a step does."""
        execution.events += plan.events
        self._events += len(plan.events)
        for event in plan.events:
            if isinstance(event, TAKING_UP) and event.number:
                execution.mail = [mail for mail in execution.mail if mail.number != event.number]
            if type(event) in _ENDS:
                self._weigh(event)
            if isinstance(event, AttemptStarted) and event.wait is not None:
                self._wait(execution, event, event.wait)
        for start in plan.children:
            if (start.run, start.attempt) not in execution.stood_in:
                self._begin_child(execution, start)
        for word in plan.to_children:
            self._tell(execution, word)

    def _weigh(self, event: Event) -> None:
        self._bytes += len(msgspec.json.encode(event))
        if self._bytes > MOST_BYTES:
            raise _BoundReached(f"all results together are more than {MOST_BYTES >> 20} MiB of JSON")

    # -- attempts

    def _attempt(self, execution: VirtualExecution, action: RunAttempt) -> bool:
        """Whether it has ended already, or nobody runs it any more."""
        if self._script.crashes(execution, action.task):
            execution.view = View.fold(execution.view.execution_id, execution.events)
            return True
        answer = self._script.attempt(execution, action)
        ended = execution.ended_by(self._in_time(execution, action.task, answer), self.now)
        if ended.at > self.now:
            self._plan_turn(execution, ended.at, partial(self._finish, execution, ended))
            return False
        self._note(execution, ended)
        return True

    def _in_time(self, execution: VirtualExecution, task: Task, answer: Answer) -> Answer:
        """The answer, or a timeout if the body would take longer than it may."""
        deadline = deadline_of(execution.flow, execution.view)
        bounds = [] if deadline is None else [max(NO_TIME, deadline - self.now)]
        bounds += [] if task.timeout is None else [task.timeout]
        if not bounds or answer.duration <= min(bounds):
            return answer
        message = f"the attempt did not end within {min(bounds).total_seconds():g} s"
        return Answer("timeout", message, None, TaskError("task.timeout", message), min(bounds))

    def _note(self, execution: VirtualExecution, ended: AttemptEnded) -> None:
        self._weigh(ended)
        execution.record(ended)

    def _finish(self, execution: VirtualExecution, ended: AttemptEnded) -> None:
        self._note(execution, ended)
        self._drive(execution)

    def _wait(self, execution: VirtualExecution, started: AttemptStarted, wait: Wait) -> None:
        """An attempt without a body has started: the script may say what it comes to."""
        task = execution.flow.tasks[started.task]
        if self._script.crashes(execution, task):
            execution.view = View.fold(execution.view.execution_id, execution.events)
        if started.compensates or wait.kind == "time":
            return
        answer = self._script.stand_in(execution, task, wait)
        if answer is None:
            return
        at, attempt_of = self.now + answer.duration, (started.run, started.attempt)
        if wait.kind == "children":
            execution.stood_in.add(attempt_of)
            act = partial(self._stand_in, execution, execution.ended_by(answer, self.now))
            self._time.plan(at, lambda: attempt_of in execution.stood_in, act)
        elif answer.outcome == "success":
            kind: MailKind = "answer" if wait.kind == "approval" else "signal"
            send = partial(self._post, execution, kind, wait.signal, answer.data, answer.by)
            self._time.plan(at, partial(execution.waits_in, *attempt_of), send)

    def _stand_in(self, execution: VirtualExecution, ended: AttemptEnded) -> None:
        execution.stood_in.discard((ended.run, ended.attempt))
        execution.turn += 1
        self._finish(execution, ended)

    # -- families, and what is sent

    def _begin_child(self, parent: VirtualExecution, start: ChildStart) -> None:
        above = parent.view.parent
        depth = 1 if above is None else above.depth + 1
        link = ParentLink(parent.view.execution_id, start.run, start.attempt, start.index, depth)
        began = ExecutionStarted(self.now, start.flow.id, start.input, start.flow.labels, link)
        path = parent.path + parent.view.task + "/"
        child = self._begin(start.flow, began, path, parent)
        parent.children.setdefault((start.run, start.attempt), []).append(child)

    def _tell(self, execution: VirtualExecution, word: ToChildren) -> None:
        attempt_of = (word.run, word.attempt)
        if attempt_of in execution.stood_in:  # there are no children that could tell when they have ended
            execution.stood_in.remove(attempt_of)
            self._time.plan(
                self.now, partial(execution.waits_in, *attempt_of), partial(self._wake, execution)
            )
        for child in execution.children.get(attempt_of, ()):
            if word.kind == "compensate":
                if child.ended is not None and child.ended.status is ExecutionStatus.COMPLETED:
                    child.ended = None
                    self._post(child, "compensate")
            elif child.ended is None and not any(mail.kind == "cancel" for mail in child.mail):
                self._post(child, "cancel", "its parent is to end")

    def _post(
        self, execution: VirtualExecution, kind: MailKind, name: str = "", payload: Any = None, by: str = ""
    ) -> None:
        execution.newest_mail += 1
        execution.mail.append(Mail(execution.newest_mail, self.now, kind, name, payload, by))
        wake = execution.wake
        if kind in ("signal", "answer"):
            is_moved = wake is not None and wake.reason is WakeReason.SIGNAL and wake.detail == name
        else:  # what undoes something is not interrupted
            is_moved = wake is not None or execution.view.ending is None
        if is_moved:
            self._wake(execution)

    def _end(self, execution: VirtualExecution) -> None:
        ended = execution.events[-1]
        assert isinstance(ended, ExecutionEnded)
        execution.ended = ended
        execution.mail, execution.newest_mail = [], 0
        parent = execution.parent
        if parent is not None and parent.ended is None:
            parent.newest_mail += 1
            if parent.wake is not None and parent.wake.reason is WakeReason.CHILDREN:
                self._wake(parent)
