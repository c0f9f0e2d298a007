"""Simulation: a flow with mocks in place of its tasks, in virtual time, without side effects.

The decisions are those of the engine; whoever simulates a flow twice gets the same answer twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.decision import RunAttempt
from flow_manager.core.definition import Flow, Task
from flow_manager.core.events import Event, Wait
from flow_manager.core.inputs import filled_input
from flow_manager.core.results import output_misfit
from flow_manager.core.schemas import Schema
from flow_manager.core.simulation.coverage import Edge, edges_of, taken
from flow_manager.core.simulation.mocks import Mock, Simulation
from flow_manager.core.simulation.virtual_engine import VirtualEngine
from flow_manager.core.simulation.virtual_execution import NO_TIME, Answer, Script, VirtualExecution
from flow_manager.core.view import View

"""Places of a result that are named when it does not fit."""
HIDDEN: Final = "***"
"""What stands for every secret."""
SUCCESS: Final = Answer(data={})
"""What a task comes to of which nothing is said."""


class MockedScript:
    """A script made of mocks: each is used once, in order, and the last one again and again."""

    def __init__(self, mocks: Mapping[str, Sequence[Mock]], crashes: Counter[str]) -> None:
        self.unmocked: dict[str, None] = {}
        """Tasks that ran, and of which nothing was said."""
        self._mocks = mocks
        self._used: Counter[str] = Counter()
        self._crashes = crashes

    def attempt(self, execution: VirtualExecution, action: RunAttempt) -> Answer:
        place = execution.place_of(action.task)
        answer = self.next_for(execution, action.task)
        if answer is None:
            self.unmocked[place] = None
            return SUCCESS
        return checked(answer, action.task.output_schema)

    def stand_in(self, execution: VirtualExecution, task: Task, wait: Wait) -> Answer | None:
        answer = self.next_for(execution, task)
        if answer is None or wait.kind != "approval" or answer.outcome != "success":
            return answer
        return msgspec.structs.replace(answer, data={"answer": {}, **answer.data})

    def crashes(self, execution: VirtualExecution, task: Task) -> bool:
        place = execution.place_of(task)
        if self._crashes[place] == 0:
            return False
        self._crashes[place] -= 1
        return True

    def next_for(self, execution: VirtualExecution, task: Task) -> Answer | None:
        """What is said of the next attempt of this task, if something is."""
        return self.next_at(execution.place_of(task))

    def next_at(self, place: str) -> Answer | None:
        """The next mock of the task that is called so, if it has any."""
        mocks = self._mocks.get(place)
        if mocks is None:
            return None
        number = self._used[place]
        self._used[place] += 1
        return mocks[min(number, len(mocks) - 1)].answer()


def checked(answer: Answer, schema: Schema | None) -> Answer:
    """The same if its data fits the schema of the task, and otherwise the failure that it would be."""
    error = None if schema is None or answer.outcome != "success" else output_misfit(schema, answer.data)
    return answer if error is None else Answer("failure", error.message, None, error, answer.duration)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated execution, as far as it came."""

    execution: VirtualExecution
    executions: Sequence[VirtualExecution]
    """It, and all executions below it, in the order of their start."""
    now: datetime
    """The virtual time at which nothing more happened."""
    stopped: str = ""
    """Why it was left as it is, if it reached a bound of simulations."""
    unmocked: Sequence[str] = ()
    """Tasks that ran without a mock, and so succeeded without data."""

    @property
    def view(self) -> View:
        return self.execution.view

    @property
    def events(self) -> Sequence[Event]:
        return self.execution.events

    @property
    def route(self) -> list[str]:
        """The tasks of the task runs, in their order."""
        return route_of(self.view)

    @property
    def exercised(self) -> list[Edge]:
        """The ways that conditions have chosen, each once, in the order of the flow."""
        found = self.taken
        return [edge for edge in edges_of(self.execution.flow) if edge in found]

    @property
    def not_exercised(self) -> list[Edge]:
        found = self.taken
        return [edge for edge in edges_of(self.execution.flow) if edge not in found]

    @property
    def taken(self) -> set[Edge]:
        return {edge for each in self.executions for edge in taken(each.events, each.path)}

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """What it waits for, and what the executions below it wait for."""
        return [_waiting(each) for each in self.executions if each.wake is not None]

    def to_json(self, *, history: bool = False) -> dict[str, Any]:
        """The answer of a simulation; with every event, if asked for."""
        view = self.view
        ended_at = view.ended_at or self.now
        began_at = view.started_at or self.now
        body: dict[str, Any] = {
            "status": view.status.value,
            "output": view.output,
            "error": None if view.error is None else view.error.to_json(),
            "route": self.route,
            "attempts": [entry.to_json() for entry in view.attempts],
            "started_at": format_time(began_at),
            "ended_at": None if view.ended_at is None else format_time(view.ended_at),
            "duration": (ended_at - began_at).total_seconds(),
            "unmocked": list(self.unmocked),
            "exercised": [edge.to_json() for edge in self.exercised],
            "not_exercised": [edge.to_json() for edge in self.not_exercised],
        }
        if self.waiting:
            body["waiting"] = self.waiting
        if self.stopped:
            body["stopped"] = self.stopped
        if history:
            body["events"] = [msgspec.to_builtins(event) for event in self.events]
        return body


def route_of(view: View) -> list[str]:
    """The tasks of the task runs of an execution, in their order; skipped ones as well."""
    return list({entry.run: entry.task for entry in view.attempts}.values())


def _waiting(execution: VirtualExecution) -> dict[str, Any]:
    wake = execution.wake
    assert wake is not None
    return {
        "task": execution.path + execution.view.task,
        "reason": wake.reason.value,
        "detail": wake.detail,
    }


def simulate(flow: Flow, request: Simulation) -> Simulated:
    """Run a flow with mocks in place of its tasks. Raises `InvalidRequest` if the input does not fit
    the flow. Always ends."""
    script = MockedScript(request.mocks, Counter(fault.after for fault in request.faults))
    return replace(play(flow, request, script), unmocked=tuple(script.unmocked))


def play(flow: Flow, request: Simulation, script: Script) -> Simulated:
    """Run a flow by a script. Raises what `simulate` raises."""
    input = filled_input(flow, request.input)
    secrets = dict.fromkeys(secrets_of(flow), HIDDEN)
    engine = VirtualEngine(script, request.now, request.chance, secrets)
    execution = engine.start(flow, input, {**flow.labels, **request.labels})
    for signal in request.signals:
        at = request.now + (signal.after or NO_TIME)
        engine.send(execution, at, signal.name, signal.payload, signal.by)
    engine.run()
    if execution.wake is not None:
        execution.view.waiting_for(execution.wake)
    return Simulated(execution, engine.executions, engine.now, engine.stopped)


def secrets_of(flow: Flow) -> Iterator[str]:
    """The names of the secrets that tasks of a flow, and of its children, are given."""
    for task in flow.tasks.values():
        if task.input is not None:
            yield from task.input.secrets_used
        if task.child is not None:
            yield from secrets_of(task.child)
