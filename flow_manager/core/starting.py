"""Starting a task run: whether it is wanted, what it is given, and who does it.

Most tasks have a body, which a worker runs. Those of `core.steps` have none: their result is
there at once, or the attempt waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from flow_manager.core.attempts import Attempt
from flow_manager.core.children import MOST_DEPTH, ChildStart
from flow_manager.core.decision import NOTHING, Circumstances, DecideAgain, Decision, Park, RunAttempt
from flow_manager.core.definition import Flow, Outcome, Task
from flow_manager.core.ending import expression_failed, fail
from flow_manager.core.events import AttemptEnded, AttemptStarted, TaskSkipped, Wait
from flow_manager.core.expressions import ExpressionError
from flow_manager.core.plain import pointer_to
from flow_manager.core.results import TaskError, TaskStatus
from flow_manager.core.schemas import check_schema
from flow_manager.core.scope import Results, scope_of
from flow_manager.core.states import FAR_AWAY, Wake, WakeReason
from flow_manager.core.steps import (
    STEP_TYPES,
    WITH_CHILDREN,
    ApprovalInput,
    FailInput,
    FlowInput,
    ForEachInput,
    SignalInput,
    SucceedInput,
    WaitInput,
    deadline,
    first_misfit,
)
from flow_manager.core.view import View
from flow_manager.errors import TooLarge

MOST_EVENTS: Final = 50_000
"""Events of one execution, after which it starts nothing more but what undoes what was done."""


def start_run(flow: Flow, view: View, name: str, given: Circumstances) -> Decision:
    """The next task run of an execution."""
    task, now, run = flow.tasks[name], given.now, view.run + 1
    if run > flow.max_task_runs:
        message = f"the execution has had all the {flow.max_task_runs} task runs it may have (max_task_runs)"
        return fail(flow, view, now, TaskError("limit.task_runs", message, retryable=False))
    if view.last_seq > MOST_EVENTS:
        message = f"the history of the execution has more than {MOST_EVENTS} events"
        return fail(flow, view, now, TaskError("limit.history", message, retryable=False))
    if task.run_when is not None:
        try:
            is_wanted = task.run_when.evaluate_condition(scope_of(flow, view, now))
        except ExpressionError as error:
            return fail(flow, view, now, expression_failed(f"run_when of task {name!r}", error))
        if not is_wanted:
            return Decision((TaskSkipped(now, name, run),), DecideAgain())
    return start_attempt(flow, view, AttemptStarted(now, name, run), given)


def first(due_at: datetime, flow: Flow, view: View) -> datetime:
    """When to look again: at `due_at`, or at the end of the execution's own time."""
    if flow.timeout is None or view.begins_at is None or view.ending is not None:
        return due_at
    return min(due_at, view.begins_at + flow.timeout)


def start_attempt(flow: Flow, view: View, started: AttemptStarted, given: Circumstances) -> Decision:
    """An attempt of the current run, or the first one of a new run."""
    task = flow.tasks[started.task]
    if not given.may_start:
        return Decision((), Park(Wake(WakeReason.DUE, given.now)))
    is_step = task.type in STEP_TYPES
    if not is_step and task.type not in given.task_types:
        return Decision((), Park(Wake(WakeReason.CODE, given.now, task.type)))
    try:
        input = input_of(flow, view, started, given)
    except ExpressionError as error:
        return _without_input(flow, view, started, error)
    if is_step:
        return _start_step(flow, view, task, started, input)
    return Decision((started,), RunAttempt(task, input, started.compensates))


def input_of(flow: Flow, view: View, started: AttemptStarted, given: Circumstances) -> Mapping[str, Any]:
    """What the task is given: the same for every attempt of a run, since it is made of what was there
    when the run began. Raises `ExpressionError`."""
    mapping = flow.tasks[started.task].input
    if mapping is None:
        return NOTHING
    if mapping.is_constant:
        constant: Mapping[str, Any] = mapping.evaluate(NOTHING)
        return constant
    first_at = started.at if started.run != view.run else view.run_started_at or started.at
    scope = scope_of(flow, view, first_at)
    scope["execution"]["task_runs"] = started.run - 1
    if started.compensates:
        scope["results"] = Results(results_to_undo(view, started.compensates))
    elif started.run == view.run:
        scope["results"] = Results(_results_before(view))
    scope["secrets"] = given.secrets
    evaluated: Mapping[str, Any] = mapping.evaluate(scope)
    return evaluated


def _results_before(view: View) -> Mapping[str, Attempt]:
    """The results as they were when the current run began: those of its own attempts are left out."""
    results = dict(view.results)
    own = results.get(view.task)
    if own is not None and own.run == view.run:
        del results[own.task]
        for entry in reversed(view.attempts):
            if entry.task == own.task and entry.run < own.run and entry.status in _WITH_RESULT:
                return {**results, own.task: entry}
    return results


_WITH_RESULT: Final = frozenset(TaskStatus)
"""How an attempt ends that has a result."""


def results_to_undo(view: View, run: int) -> Mapping[str, Attempt]:
    """The results as a compensation sees them: of a task in a loop, the run that it undoes."""
    undone = next(entry for entry in view.attempts if entry.run == run and entry.status == "success")
    return {**view.results, undone.task: undone}


def _without_input(flow: Flow, view: View, started: AttemptStarted, error: ExpressionError) -> Decision:
    """An input that cannot be evaluated fails the execution; that of a compensation fails itself, so
    that the others still run."""
    failed = expression_failed(f"the input of task {started.task!r}", error)
    if started.compensates:
        return _ended(started, "failure", error=failed)
    return fail(flow, view, started.at, failed)


def _start_step(
    flow: Flow, view: View, task: Task, started: AttemptStarted, input: Mapping[str, Any]
) -> Decision:
    if task.type == "transform":
        return _ended(started, "success", data=input)
    try:
        model = step_input(task, input)
    except ValidationError as error:
        message = f"the input of the task does not fit: {first_misfit(error)}"
        return _ended(started, "failure", error=TaskError("task.input_invalid", message, retryable=False))
    return _START[type(model)](flow, view, task, started, model)


def step_input(task: Task, input: Mapping[str, Any]) -> BaseModel:
    """The input of a task without a body, as its model. Raises pydantic's `ValidationError`."""
    given = {**input, "flow": {}} if task.type in WITH_CHILDREN else dict(input)
    return STEP_TYPES[task.type].model_validate(given)


def _ended(
    started: AttemptStarted,
    outcome: Outcome,
    data: Any = None,
    error: TaskError | None = None,
    message: str = "",
) -> Decision:
    """The attempt has its result at once."""
    said = message or (error.message if error is not None else "")
    ended = AttemptEnded(started.at, started.task, started.run, started.attempt, outcome, said, data, error)
    return Decision((started, ended), DecideAgain())


def _waiting(started: AttemptStarted, wait: Wait) -> AttemptStarted:
    return AttemptStarted(
        started.at,
        started.task,
        started.run,
        started.attempt,
        started.isolated,
        wait,
        started.compensates,
        started.compensates_attempt,
    )


def _wait(_flow: Flow, _view: View, _task: Task, started: AttemptStarted, input: WaitInput) -> Decision:
    waiting = _waiting(started, Wait("time", input.end(started.at)))
    return Decision((waiting,), DecideAgain())


def _await_signal(
    _flow: Flow, _view: View, task: Task, started: AttemptStarted, input: SignalInput
) -> Decision:
    until = deadline(started.at, input.timeout, task.timeout)
    waiting = _waiting(started, Wait("signal", until, input.name or task.name))
    return Decision((waiting,), DecideAgain())


def _await_answer(
    _flow: Flow, _view: View, task: Task, started: AttemptStarted, input: ApprovalInput
) -> Decision:
    faults = [] if input.form is None else check_schema(input.form)
    if faults:
        message = f"the form of the question is no JSON Schema that can be used: {faults[0].detail}"
        return _ended(started, "failure", error=TaskError("task.input_invalid", message, retryable=False))
    until = deadline(started.at, input.timeout, task.timeout)
    name = answer_name(started.run, started.attempt)
    wait = Wait("approval", until, name, 0, input.question, input.form, tuple(input.answer_by))
    return Decision((_waiting(started, wait),), DecideAgain())


def answer_name(run: int, attempt: int) -> str:
    """What an approval waits for."""
    return f"approval/{run}/{attempt}"


def _start_child(flow: Flow, view: View, task: Task, started: AttemptStarted, input: FlowInput) -> Decision:
    return start_children(flow, view, task, started, [input.input])


def _start_for_each(
    flow: Flow, view: View, task: Task, started: AttemptStarted, input: ForEachInput
) -> Decision:
    if not input.items:
        return _ended(started, "success", data={"results": [], "failed": 0})
    return start_children(flow, view, task, started, inputs_of_items(input), input.max_parallel)


def inputs_of_items(input: ForEachInput) -> list[dict[str, Any]]:
    """The input of each child of a `for_each`."""
    return [{**input.input, "item": item, "index": index} for index, item in enumerate(input.items)]


def start_children(
    flow: Flow,
    view: View,
    task: Task,
    started: AttemptStarted,
    inputs: list[dict[str, Any]],
    most: int = 1,
) -> Decision:
    depth = 1 if view.parent is None else view.parent.depth + 1
    if depth > MOST_DEPTH:
        message = f"children of children nest at most {MOST_DEPTH} deep"
        return _ended(started, "failure", error=TaskError("limit.depth", message, retryable=False))
    misfit = _misfit_of_inputs(task.child, inputs)
    if misfit is not None:
        return _ended(started, "failure", error=TaskError("task.input_invalid", misfit, retryable=False))
    children = children_at(task, started.run, started.attempt, inputs, range(min(most, len(inputs))))
    until = deadline(started.at, task.timeout)
    wait = Wait("children", until, "", len(inputs))
    wake = Wake(WakeReason.CHILDREN, first(until or FAR_AWAY, flow, view), task.name)
    return Decision((_waiting(started, wait),), Park(wake), children)


def children_at(
    task: Task, run: int, attempt: int, inputs: list[dict[str, Any]], places: range
) -> tuple[ChildStart, ...]:
    child = task.child
    assert child is not None
    schema = child.input_schema
    given = [inputs[index] if schema is None else schema.with_defaults(inputs[index]) for index in places]
    return tuple(
        ChildStart(child, run, attempt, index, input) for index, input in zip(places, given, strict=True)
    )


def _misfit_of_inputs(child: Flow | None, inputs: list[dict[str, Any]]) -> str | None:
    """A sentence about the first input that does not fit the schema of the child; None if all do."""
    if child is None or child.input_schema is None:
        return None
    for index, input in enumerate(inputs):
        try:
            misfits = child.input_schema.misfits(child.input_schema.with_defaults(input), most=1)
        except TooLarge as error:
            return f"the defaults of the input of child {index} are too large: {error}"
        if misfits:
            where = pointer_to(misfits[0].path)
            return f"the input of child {index} does not fit its schema: {misfits[0].detail} (at {where})"
    return None


def _end_well(
    _flow: Flow, _view: View, _task: Task, started: AttemptStarted, input: SucceedInput
) -> Decision:
    return _ended(started, "success", data=input.output, message=input.message)


def _end_badly(_flow: Flow, _view: View, _task: Task, started: AttemptStarted, input: FailInput) -> Decision:
    error = TaskError(input.code, input.message, retryable=False)
    return _ended(started, "failure", data=input.output, error=error)


_START: Final[dict[type, Callable[..., Decision]]] = {
    WaitInput: _wait,
    SignalInput: _await_signal,
    ApprovalInput: _await_answer,
    FlowInput: _start_child,
    ForEachInput: _start_for_each,
    SucceedInput: _end_well,
    FailInput: _end_badly,
}
