"""An edited replay: a recorded execution with another input, or with other results of some tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from flow_manager.core.definition import Flow
from flow_manager.core.events import AttemptEnded, AttemptStarted, Event, ExecutionEnded
from flow_manager.core.simulation.mocks import Mock
from flow_manager.core.simulation.recording import RecordedAttempt, Recording
from flow_manager.core.simulation.replay import Difference, Need, Replay
from flow_manager.core.simulation.simulate import HIDDEN, checked, secrets_of
from flow_manager.core.simulation.virtual_execution import Answer
from flow_manager.core.simulation.whatif import REFUSED, Comparison

CANNOT_BE_TOLD: Final = "cannot be told"


class Route(msgspec.Struct, frozen=True):
    """A way through a flow: its tasks in order, and how it ends. `output` and `error` are of its end."""

    tasks: Sequence[str]
    end: str
    output: Any = None
    error: Any = None


class Replayed(msgspec.Struct, frozen=True):
    """The recorded route beside the one that is taken now. `unused` are the mocked tasks that no longer
    run."""

    comparison: Comparison
    recorded: Route
    now: Route
    mocked: Sequence[str] = ()
    unused: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            **self.comparison.to_json(),
            "recorded": msgspec.to_builtins(self.recorded),
            "now": msgspec.to_builtins(self.now),
            "mocked": list(self.mocked),
            "unused": list(self.unused),
        }


class EditedReplay(Replay):
    """Mocks take the place of what was recorded: of a task's attempts in order, the last one repeats."""

    def __init__(
        self,
        flow: Flow,
        recording: Recording,
        input: Mapping[str, Any],
        execution_id: str,
        mocks: Mapping[str, Sequence[Mock]],
    ) -> None:
        secrets = dict.fromkeys(secrets_of(flow), HIDDEN)
        super().__init__(flow, recording, input, secrets, execution_id)
        self._mocks = mocks
        self.used: dict[str, int] = {}

    @property
    def route(self) -> Route:
        view = self._view
        if self.need is not None:
            return Route([str(each) for each in self._visits], CANNOT_BE_TOLD)
        error = None if view.error is None else view.error.to_json()
        end = f"end: {view.status.value}" if view.is_ended else "still open"
        return Route([str(each) for each in self._visits], end, view.output, error)

    @property
    def _has_come_as_far(self) -> bool:
        """An attempt that was never recorded to its end goes on if there is a mock of it."""
        is_open = self._view.task in self._mocks and not self._view.is_ended
        return super()._has_come_as_far and not is_open

    def _recorded(self) -> RecordedAttempt:
        view = self._view
        mocks = self._mocks.get(view.task)
        if mocks is None or view.compensates:
            return super()._recorded()
        number = self.used.get(view.task, 0)
        self.used[view.task] = number + 1
        answer = self._answer(mocks[min(number, len(mocks) - 1)])
        started = AttemptStarted(self._now, view.task, view.run, view.attempt, wait=view.wait)
        attempt = RecordedAttempt(started)
        attempt.end = AttemptEnded(
            self._now + answer.duration,
            view.task,
            view.run,
            view.attempt,
            answer.outcome,
            answer.message,
            answer.data,
            answer.error,
        )
        return attempt

    def _answer(self, mock: Mock) -> Answer:
        """What the mock comes to, as the attempt would record it."""
        view, answer = self._view, mock.answer()
        if view.wait is None:
            return checked(answer, self._flow.tasks[view.task].output_schema)
        if view.wait.kind == "approval" and answer.outcome == "success":
            return msgspec.structs.replace(answer, data={"answer": {}, **answer.data})
        return answer


def replay(
    flow: Flow,
    history: Sequence[Event],
    execution_id: str = "",
    *,
    input: Mapping[str, Any] | None = None,
    mocks: Mapping[str, Sequence[Mock]] | None = None,
) -> Replayed:
    """Replay a history through its flow. Raises `ValueError` for what is no history."""
    recording = Recording(history)
    recorded = _recorded_route(recording)
    given = dict(recording.began.input if input is None else input)
    if flow.input_schema is not None and recording.began.parent is None:
        given = dict(flow.input_schema.with_defaults(given))
        if flow.input_schema.misfits(given, 1):
            parted = Difference("", 0, recording.choice(0), REFUSED)
            return Replayed(Comparison("differs", parted), recorded, Route([], REFUSED))
    mocks = mocks or {}
    edited = EditedReplay(flow, recording, given, execution_id, mocks)
    edited.run()
    difference = edited.difference()
    comparison = _comparison(difference, edited.need)
    unused = [name for name in mocks if name not in edited.used]
    return Replayed(comparison, recorded, edited.route, list(mocks), unused)


def _comparison(difference: Difference | None, need: Need | None) -> Comparison:
    if need is not None:
        return Comparison("needs", difference, need)
    return Comparison("same" if difference is None else "differs", difference)


def _recorded_route(recording: Recording) -> Route:
    last = recording.events[-1]
    tasks = [str(each) for each in recording.visits]
    end = recording.choice(len(recording.visits))
    if not isinstance(last, ExecutionEnded):
        return Route(tasks, end)
    return Route(tasks, end, last.output, None if last.error is None else last.error.to_json())
