"""For authors of tasks and flows: a flow run in memory, with the real task bodies, in virtual time.

    from flow_manager import testing

    def test_a_charge_is_tried_again():
        run = testing.run("order.json", {"amount": 7}, tasks={"charge": Charge, "mail": [{"data": {}}]})

        run.assert_route(["charge", "mail"])
        assert run.results["charge"].data == {"paid": 7}

It is driven by the same decisions as in the service. There is no store, and waits and retries cost no
time; bodies take as long as they take, and no time of the virtual clock.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from flow_manager.api.execution_request import ExecutionRequest
from flow_manager.core.attempts import Attempt, format_time
from flow_manager.core.decision import RunAttempt
from flow_manager.core.definition import Flow, Task
from flow_manager.core.events import Event
from flow_manager.core.findings import Findings
from flow_manager.core.parser import FlowParser
from flow_manager.core.results import TaskError
from flow_manager.core.simulation.mocks import START, Mock, Simulation, parse_simulation, read_mocks
from flow_manager.core.simulation.simulate import MockedScript, Simulated, checked, play
from flow_manager.core.simulation.virtual_execution import Answer, VirtualExecution
from flow_manager.core.starting import results_to_undo
from flow_manager.core.values import read_json
from flow_manager.engine.inputs import must_be_plain
from flow_manager.errors import InvalidRequest, TaskRegistrationError
from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.context import Cancellation, TaskContext
from flow_manager.tasks.outcome import from_return, raised
from flow_manager.tasks.registry import REGISTRY, RegisteredTask, TaskRegistry

__all__ = ["Run", "run"]

MOST_RESULT: Final = 256 << 10
"""Bytes of JSON that the input, and the data of a result, may have: as in a service by default."""

Body = Callable[..., Any]
"""A task: a class that inherits from `TaskExecutor`, or a function that takes the context."""
Mocked = Sequence[Mapping[str, Any]]
"""What attempts come to, in order; the last one repeats. As the mocks of a simulation."""


@dataclass(frozen=True, slots=True)
class Run:
    """An execution, as far as it came."""

    simulated: Simulated

    @property
    def status(self) -> str:
        """`completed` or `failed`; `waiting` if nothing will move it on."""
        return self.simulated.view.status.value

    @property
    def route(self) -> list[str]:
        """The tasks of the task runs, in order; skipped ones and compensations as well."""
        return self.simulated.route

    @property
    def output(self) -> Any:
        return self.simulated.view.output

    @property
    def error(self) -> TaskError | None:
        return self.simulated.view.error

    @property
    def results(self) -> Mapping[str, Attempt]:
        """The last result of each task: `status`, `data`, `message`, `error`."""
        return self.simulated.view.results

    @property
    def attempts(self) -> Sequence[Attempt]:
        """All attempts, in order."""
        return self.simulated.view.attempts

    @property
    def history(self) -> Sequence[Event]:
        """All events, in order."""
        return self.simulated.events

    def assert_route(self, expected: Sequence[str]) -> None:
        """Raises `AssertionError`, saying where the route is another, and what the error was."""
        if list(expected) == self.route:
            return
        lines = [f"expected the route {list(expected)}", f"and it was {self.route}, {self.status}"]
        if self.error is not None:
            lines.append(f"because of {self.error.code}: {self.error.message}")
        if self.simulated.stopped:
            lines.append(f"stopped: {self.simulated.stopped}")
        raise AssertionError(",\n".join(lines))


def run(
    flow: Flow | Mapping[str, Any] | str | PathLike[str],
    input: Mapping[str, Any] | None = None,
    *,
    tasks: Mapping[str, Body | Mocked] | None = None,
    now: datetime = START,
    **told: Any,
) -> Run:
    """Run a flow to its end, or to where nothing moves it on.

    `flow` is a document or the path of one. `tasks` are the bodies by task type, or mocks in their
    place; types that are not among them are those of the registry, as imported modules have filled
    it. Further arguments are those of a simulation: `mocks` (by task name; they come before
    `tasks`), `signals`, `faults`, `labels`, `chance`.

    Raises `InvalidFlow`, `InvalidRequest` and `TaskRegistrationError`. Whatever a body raises is a
    failure of its attempt, but for what is no `Exception`.
    """
    bodies = _Bodies(tasks or {})
    parsed, beside = (flow, {}) if isinstance(flow, Flow) else bodies.read(flow)
    given = dict(beside.get("input", {}) if input is None else input)
    must_be_plain("input", given, MOST_RESULT)
    written = {"labels": beside.get("labels", {}), **told, "input": given, "now": format_time(now)}
    simulation = parse_simulation(written, parsed)
    if not _is_on_a_loop():
        return Run(_play(parsed, simulation, bodies))
    with ThreadPoolExecutor(1, "flow-manager-testing") as thread:  # an async test: its loop is taken
        return Run(thread.submit(_play, parsed, simulation, bodies).result())


class _Bodies:
    """What is behind each task type."""

    def __init__(self, tasks: Mapping[str, Body | Mocked]) -> None:
        self._own = TaskRegistry()
        self._mocks: dict[str, list[Mock]] = {}
        for name, task in tasks.items():
            if callable(task):
                self._own.register(name, task)
            else:
                self._mocks[name] = _read_mocks(name, task)

    def read(self, flow: Mapping[str, Any] | str | PathLike[str]) -> tuple[Flow, Mapping[str, Any]]:
        """The flow, and what stands beside it."""
        document = flow if isinstance(flow, Mapping) else read_json(Path(flow).read_bytes())
        asked = ExecutionRequest.of(document)
        if asked.problems:
            raise InvalidRequest(asked.problems[0].detail, asked.problems)
        types: dict[str, type[BaseModel] | None] = dict.fromkeys(self._mocks)
        known = {**REGISTRY.input_models(), **self._own.input_models(), **types}
        parsed = FlowParser(known).parse(asked.document)
        return parsed, {"input": asked.input, "labels": asked.labels}

    def mocks_of(self, task_type: str) -> Sequence[Mock]:
        return self._mocks.get(task_type, ())

    def of(self, task_type: str) -> RegisteredTask:
        """Raises `TaskRegistrationError`."""
        task = self._own.get(task_type) or REGISTRY.get(task_type)
        if task is None:
            raise TaskRegistrationError(
                f"nothing is known of task type {task_type!r}: give it in 'tasks', or import the module "
                "that registers it"
            )
        return task


def _read_mocks(task_type: str, written: object) -> list[Mock]:
    errors = Findings()
    mocks = read_mocks(written, ("tasks", task_type), errors)
    if errors:
        problems = errors.problems({"tasks": {task_type: written}})
        raise InvalidRequest(
            f"{task_type!r} is neither a task nor mocks of one: {problems[0].detail}", problems
        )
    return mocks


def _play(flow: Flow, simulation: Simulation, bodies: _Bodies) -> Simulated:
    """All async bodies of a run share one loop."""
    with asyncio.Runner() as runner:
        return play(flow, simulation, _Script(simulation, bodies, runner))


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Script(MockedScript):
    """Mocks by task name, then mocks by task type, then bodies."""

    def __init__(self, simulation: Simulation, bodies: _Bodies, runner: asyncio.Runner) -> None:
        super().__init__(simulation.mocks, Counter(fault.after for fault in simulation.faults))
        self._bodies = bodies
        self._runner = runner
        self._used_of_type: Counter[str] = Counter()

    def attempt(self, execution: VirtualExecution, action: RunAttempt) -> Answer:
        answer = self.next_for(execution, action.task)
        if answer is None:
            result = self._run(self._bodies.of(action.task.type), _order(execution, action))
            answer = Answer(result.outcome, result.message, result.data, result.error)
        return checked(answer, action.task.output_schema)

    def next_for(self, execution: VirtualExecution, task: Task) -> Answer | None:
        answer, mocks = super().next_for(execution, task), self._bodies.mocks_of(task.type)
        if answer is not None or not mocks:
            return answer
        number = self._used_of_type[task.type]
        self._used_of_type[task.type] += 1
        return mocks[min(number, len(mocks) - 1)].answer()

    def _run(self, task: RegisteredTask, order: AttemptOrder) -> AttemptResult:
        """The edge of an attempt: whatever a body raises is its result."""
        context = TaskContext(order, Cancellation())
        try:
            body = task.new_body()
            value = self._runner.run(_awaited(body, context)) if task.is_async else body(context)
            return from_return(value, MOST_RESULT)
        except Exception as error:
            return raised(error, context)


async def _awaited(body: Body, context: TaskContext) -> Any:
    return await body(context)


def _order(execution: VirtualExecution, action: RunAttempt) -> AttemptOrder:
    view, task = execution.view, action.task
    return AttemptOrder(
        view.execution_id,
        view.flow_id,
        task.name,
        task.type,
        view.run,
        view.attempt,
        view.input,
        action.input,
        results_to_undo(view, action.undoes) if action.undoes else view.results,
    )
