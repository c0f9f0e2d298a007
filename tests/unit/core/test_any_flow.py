"""Any flow, driven through any outcomes, crashes, losses and releases, must come to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal, get_args

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_manager.core.decide import MOST_LOSSES, decide, next_action
from flow_manager.core.decision import Action, Circumstances, Finish, Park, Plan, RunAttempt
from flow_manager.core.definition import END, Condition, Flow, Outcome, RetryPolicy, Task
from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
    Routed,
    decode_event,
    encode_event,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.core.view import View
from tests.support.flows import flow_of

Fate = Literal[
    "success", "failure", "timeout", "unknown", "final", "killed", "crash", "release", "full", "no code"
]
"""What comes next: an outcome of the attempt (`final` is a failure not to be retried), the end of its
worker, the end of the service with the result in hand, a stop, or a start that must wait."""

START: Final = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
LIMITS: Final = {"flow.timeout", "limit.task_runs"}
NAMES: Final = ["a", "b", "c", "d", "e", "f"]

durations = st.timedeltas(timedelta(milliseconds=1), timedelta(seconds=20))
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 3),
    delay=durations,
    backoff=st.floats(1, 3),
    max_delay=durations,
    jitter=st.sampled_from(["full", "none"]),
    budget=st.none() | durations,
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    names = NAMES[: draw(st.integers(2, 6))]
    targets = st.sampled_from([*names, END])
    tasks = [
        Task(
            name,
            name,
            retry=draw(policies),
            on_lost=draw(st.sampled_from(["retry", "unknown"])),
            optional=draw(st.booleans()),
        )
        for name in names
    ]
    outcomes = st.sampled_from(get_args(Outcome))
    conditions = draw(
        st.lists(
            st.builds(
                Condition, st.just("x"), st.sampled_from(names), st.just(""), outcomes, targets, targets
            ),
            max_size=12,
        )
    )
    timeout = draw(st.none() | st.timedeltas(timedelta(seconds=1), timedelta(seconds=60)))
    return flow_of(*tasks, conditions=conditions, timeout=timeout, max_task_runs=draw(st.integers(1, 12)))


class Drive:
    """An execution with its store (the recorded lines) and an engine that may lose its memory."""

    def __init__(self, flow: Flow, fates: Sequence[Fate], chance: float) -> None:
        self.flow = flow
        self.now = START
        self.stored = [encode_event(ExecutionStarted(START, flow.id))]
        self.view = self.refolded()
        self._fates = iter(fates)
        self._chance = chance
        self._pending: list[Event] = []

    @property
    def history(self) -> list[Event]:
        return [decode_event(line) for line in self.stored]

    def refolded(self) -> View:
        return View.fold("e1", self.history)

    def to_the_end(self, most_steps: int) -> Action:
        for _ in range(most_steps):
            action = self._step()
            if isinstance(action, RunAttempt):
                self._attempt(action.task)
            elif isinstance(action, Finish) or action.wake.reason is WakeReason.QUARANTINE:
                return action
            else:
                self.now = max(self.now, action.wake.due_at)
        raise AssertionError(f"not at its end after {most_steps} steps: {self.stored}")

    def _step(self) -> RunAttempt | Park | Finish:
        """Decide and record, as the engine does; with the decision lost if a crash comes between."""
        fate = self._next_fate()
        types = () if fate == "no code" else NAMES
        circumstances = Circumstances(self.now, self._chance, types, may_start=fate != "full")
        plan = Plan()
        action = next_action(self.flow, self.view, plan, circumstances)
        self._pending += plan.events
        if fate == "crash":
            self._forget()
            return self._step()
        self._commit()
        assert isinstance(action, RunAttempt | Park | Finish)
        return action

    def _commit(self) -> None:
        self.stored += [encode_event(event) for event in self._pending]
        self._pending = []
        assert self.view == self.refolded()
        assert self.view.last_seq == len(self.stored)

    def _attempt(self, task: Task) -> None:
        fate = self._next_fate()
        self.now += timedelta(seconds=1)
        run, attempt = self.view.run, self.view.attempt
        if fate == "release":
            self._note(AttemptReleased(self.now, task.name, run, attempt))
            self._commit()
        elif fate != "killed":
            self._note(_result(self.now, task.name, run, attempt, fate))
        if fate in ("crash", "release"):
            self._forget()

    def _forget(self) -> None:
        self._pending = []
        self.view = self.refolded()

    def _next_fate(self) -> Fate:
        return next(self._fates, "success")

    def _note(self, event: Event) -> None:
        self._pending.append(event)
        self.view.apply(event)


def _result(now: datetime, task: str, run: int, attempt: int, fate: Fate) -> AttemptEnded:
    if fate in ("failure", "timeout", "unknown"):
        return AttemptEnded(now, task, run, attempt, fate, error=TaskError("task.failed", "no"))
    if fate == "final":
        error = TaskError("task.failed", "no use", retryable=False)
        return AttemptEnded(now, task, run, attempt, "failure", error=error)
    return AttemptEnded(now, task, run, attempt, data={"run": run})


fates: st.SearchStrategy[list[Fate]] = st.sampled_from(
    [list(get_args(Fate)), ["success", "killed", "crash"], ["failure", "timeout", "release"]]
).flatmap(lambda likely: st.lists(st.sampled_from(likely), min_size=15, max_size=60))
chances = st.floats(0, 1, exclude_max=True)


@settings(max_examples=400)
@given(flows(), fates, chances)
def test_any_flow_comes_to_its_end(flow: Flow, fates: list[Fate], chance: float) -> None:
    most_attempts = flow.max_task_runs * (3 + MOST_LOSSES)
    drive = Drive(flow, fates, chance)

    drive.to_the_end(most_steps=2 * most_attempts + len(fates) + 1)

    view, history = drive.view, drive.history
    note(view.status.value if view.error is None else view.error.code)
    assert_one_end(history)
    assert_attempts_are_in_order(flow, history)
    assert_every_start_has_its_reason(flow, history)
    assert_the_end_is_right(flow, history)
    assert_nothing_follows(drive)


@settings(max_examples=100)
@given(flows(), fates, chances)
def test_from_any_point_of_a_history_there_is_a_way_on(flow: Flow, fates: list[Fate], chance: float) -> None:
    drive = Drive(flow, fates, chance)
    drive.to_the_end(most_steps=1000)

    for number in range(1, len(drive.stored) + 1):
        cut = Drive(flow, [], chance)
        cut.now, cut.stored = drive.now, drive.stored[:number]
        cut.view = cut.refolded()
        cut.to_the_end(most_steps=1000)
        assert cut.stored[:number] == drive.stored[:number]


def assert_one_end(history: Sequence[Event]) -> None:
    ends = [isinstance(event, ExecutionEnded | ExecutionQuarantined) for event in history]
    assert ends == [False] * (len(history) - 1) + [True]


def assert_attempts_are_in_order(flow: Flow, history: Sequence[Event]) -> None:
    """Each attempt begins, then ends once; the numbers of runs and attempts have no gaps."""
    last, open_attempt = (0, 0), False
    failures: Counter[int] = Counter()
    for event in history:
        if isinstance(event, AttemptStarted):
            assert not open_attempt
            run, attempt = last
            assert (event.run, event.attempt) in [(run + 1, 1), (run, attempt + 1)]
            last, open_attempt = (event.run, event.attempt), True
        elif isinstance(event, AttemptEnded | AttemptLost | AttemptReleased):
            assert open_attempt
            assert (event.run, event.attempt) == last
            open_attempt = False
            if isinstance(event, AttemptReleased):
                last = (event.run, event.attempt - 1)
            elif isinstance(event, AttemptEnded) and event.outcome != "success":
                failures[event.run] += 1
                assert failures[event.run] <= flow.tasks[event.task].retry.max_attempts
    assert last[0] <= flow.max_task_runs


def assert_every_start_has_its_reason(flow: Flow, history: Sequence[Event]) -> None:
    """A body starts because a run begins, or a retry, a loss or a release came right before."""
    for before, event in pairwise(history):
        if isinstance(event, AttemptStarted):
            if isinstance(before, ExecutionStarted | Routed):
                assert event.attempt == 1
            elif isinstance(before, RetryScheduled):
                assert event.at >= before.due_at
                assert event.attempt == before.attempt
            else:
                assert isinstance(before, AttemptLost | AttemptReleased)
                assert event.attempt == before.attempt + isinstance(before, AttemptLost)
        if isinstance(event, AttemptLost):
            assert flow.tasks[event.task].on_lost == "retry"


def assert_the_end_is_right(flow: Flow, history: Sequence[Event]) -> None:
    """Rule 5 of routing, told from the history alone, unless a limit ended the execution."""
    end = history[-1]
    if isinstance(end, ExecutionQuarantined):
        losses = [event for event in history if isinstance(event, AttemptLost)][-MOST_LOSSES:]
        assert {(event.task, event.run) for event in losses} == {(end.task, losses[0].run)}
        return
    assert isinstance(end, ExecutionEnded)
    if end.error is None or end.error.code not in LIMITS:
        routed = history[-2]
        assert isinstance(routed, Routed)
        result = next(event for event in reversed(history) if isinstance(event, AttemptEnded))
        is_failure = result.outcome != "success" and not flow.tasks[result.task].optional
        fails = is_failure and not routed.matched
        assert (routed.to, routed.outcome) == (END, result.outcome)
        assert end.status == (ExecutionStatus.FAILED if fails else ExecutionStatus.COMPLETED)
        assert end.error == (result.error if fails else None)


def assert_nothing_follows(drive: Drive) -> None:
    later = Circumstances(drive.now + timedelta(days=1), 0.5, NAMES)

    assert decide(drive.flow, drive.view, later).events == ()
