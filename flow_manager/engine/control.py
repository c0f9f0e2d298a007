"""Control: an operator's calls, looked at, judged, and sent as mail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Protocol, get_args

import msgspec

from flow_manager.core.definition import Flow, Outcome
from flow_manager.core.ending import has_something_to_undo
from flow_manager.core.events import Event, ExecutionRerun, ExecutionStarted, ResultGiven
from flow_manager.core.intervening import Given, Rerun, objection
from flow_manager.core.mail import MailKind
from flow_manager.core.plain import shown
from flow_manager.core.problems import nearest
from flow_manager.core.results import output_misfit
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.engine.inputs import accepted_input, must_be_plain
from flow_manager.engine.recording import due_execution
from flow_manager.engine.terms import slot_of, terms_of
from flow_manager.errors import InvalidInput, InvalidRequest, NotAsSeen, Problem, StateForbids, StoreDamaged
from flow_manager.ports.starting import StartOptions
from flow_manager.ports.store import NewExecution, NewMail, Slot

TRIES: Final = 5
"""Looks at an execution that moves on meanwhile, before it is called busy."""
BETWEEN: Final = 0.02
"""Seconds between them."""


class Surroundings(Protocol):
    """What control needs of the backend."""

    def describe(self, execution_id: str) -> View: ...

    def definition(self, execution_id: str) -> Flow: ...

    def post(self, mail: NewMail) -> None: ...

    def create(self, new: NewExecution) -> None: ...

    def now(self) -> datetime: ...


class OperatorControl:
    """Implements `ports.control.Control`. `most_bytes` bounds inputs and results."""

    def __init__(self, around: Surroundings, most_bytes: int) -> None:
        self._around = around
        self._most_bytes = most_bytes

    def pause(self, execution_id: str, *, reason: str = "", by: str = "") -> None:
        view = self._look("pause", execution_id)
        if view.status is not ExecutionStatus.PAUSED:  # one that resumes may still wait for its slot
            self._around.post(NewMail(execution_id, self._around.now(), "pause", reason, None, by))

    def resume(self, execution_id: str, *, reason: str = "", by: str = "") -> None:
        self._ask("resume", execution_id, None, reason, by)

    def retry(self, execution_id: str, *, reason: str = "", by: str = "") -> None:
        self._ask("retry", execution_id, None, reason, by)

    def rerun(self, execution_id: str, rerun: Rerun, *, reason: str = "", by: str = "") -> None:
        flow = self._around.definition(execution_id)
        _must_have(flow, rerun.task)
        input = None if rerun.input is None else accepted_input(flow, rerun.input, self._most_bytes)
        if rerun.result is not None:
            self._must_fit(flow, rerun.task, rerun.result, "result/data")
        asked = msgspec.structs.replace(rerun, input=input)
        self._ask("rerun", execution_id, lambda _: asked, reason, by, rerun.task)

    def give(self, execution_id: str, result: Given, *, reason: str = "", by: str = "") -> None:
        flow = self._around.definition(execution_id)

        def fitting(view: View) -> Given:
            self._must_fit(flow, view.task, result, "data")
            return result

        self._ask("give", execution_id, fitting, reason, by)

    def fork(
        self,
        execution_id: str,
        from_task: str | None = None,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        by: str = "",
    ) -> str:
        flow, view = self._around.definition(execution_id), self._around.describe(execution_id)
        if view.status is ExecutionStatus.NEEDS_REPAIR:
            raise StateForbids("what is stored of the execution cannot be read; `doctor` tells more")
        if from_task is not None:
            _must_have(flow, from_task)
        given = view.input if input is None else accepted_input(flow, input, self._most_bytes)
        now = self._around.now()
        began = ExecutionStarted(now, flow.id, given, view.labels, None, execution_id)
        more: list[Event] = []
        if from_task is not None:
            more += _results_before(view, from_task, now)
            more.append(ExecutionRerun(now, by, reason, 0, from_task))
        terms = terms_of(flow, given, StartOptions(), is_published=False)
        new = due_execution(flow, began, more, terms)
        self._around.create(new)
        return new.execution_id

    # -- asking

    def _ask(
        self,
        kind: MailKind,
        execution_id: str,
        payload: Callable[[View], Any] | None,
        reason: str,
        by: str,
        task: str = "",
    ) -> None:
        """Look, judge and send, again if the execution has moved on meanwhile."""
        for left in reversed(range(TRIES)):
            view = self._look(kind, execution_id, task)
            what = None if payload is None else payload(view)
            slot = self._slot_for(execution_id, view, what)
            mail = NewMail(execution_id, self._around.now(), kind, reason, what, by, view.last_seq, slot)
            try:
                return self._around.post(mail)
            except NotAsSeen:
                if not left:
                    raise
                time.sleep(BETWEEN)
        return None

    def _look(self, kind: MailKind, execution_id: str, task: str = "") -> View:
        """The execution, if it can do what is asked. Raises `StateForbids`."""
        view = self._around.describe(execution_id)
        refused = objection(kind, self._around.definition(execution_id), view, task)
        if refused is not None:
            raise StateForbids(refused)
        return view

    def _slot_for(self, execution_id: str, view: View, what: Any) -> Slot | None:
        """What it needs to go on: also one that has ended, and so has given its slot back. Children are not
        counted."""
        if view.parent is not None:
            return None
        input = what.input if isinstance(what, Rerun) and what.input is not None else view.input
        return slot_of(self._around.definition(execution_id), input)

    def slot_to_undo(self, execution_id: str) -> Slot | None:
        """What it needs before it is cancelled: what undoes its work is work under the same key. Most have a
        slot, but one that was rerun waits for it, or was paused while it did. Raises `ExecutionUnknown`."""
        try:
            flow = self._around.definition(execution_id)
        except (StoreDamaged, InvalidInput):  # nothing can be undone, and it is to end
            return None
        if flow.concurrency is None or not flow.compensates:
            return None
        view = self._around.describe(execution_id)
        is_needed = view.wake is not None and has_something_to_undo(flow, view)
        return self._slot_for(execution_id, view, None) if is_needed else None

    def _must_fit(self, flow: Flow, name: str, result: Given, place: str) -> None:
        must_be_plain(place, result.data, self._most_bytes)
        schema = flow.tasks[name].output_schema
        if schema is None or result.outcome != "success":
            return
        error = output_misfit(schema, result.data)
        if error is not None:
            raise InvalidRequest(
                f"the result does not fit the output_schema of task {shown(name)}",
                [Problem(f"#/{place}", "schema", error.message)],
            )


def _must_have(flow: Flow, name: str) -> None:
    if name not in flow.tasks:
        likely = nearest(name, list(flow.tasks))
        raise InvalidRequest(
            f"flow {flow.id!r} has no task {shown(name)}",
            [
                Problem(
                    "#/from_task",
                    "unknown-task",
                    "no task has this name",
                    f"did you mean {likely!r}?" if likely else None,
                )
            ],
        )


def _results_before(view: View, task: str, now: datetime) -> Iterator[ResultGiven]:
    """The last result of each task before the first run of this one."""
    first = next((entry.run for entry in view.attempts if entry.task == task), view.run + 1)
    last = {
        entry.task: entry
        for entry in view.attempts
        if entry.run < first and not entry.compensates and entry.status in _OUTCOMES
    }
    for entry in sorted(last.values(), key=lambda entry: entry.run):
        outcome = _OUTCOMES[entry.status]
        what = (entry.message, entry.data, entry.error)
        yield ResultGiven(now, "", "", 0, entry.task, entry.run, entry.attempt, outcome, *what)


_OUTCOMES: Final[Mapping[str, Outcome]] = {outcome: outcome for outcome in get_args(Outcome)}
"""How an attempt ends that has a result."""
