"""What is told of the routes of a flow without running it, beside what its executions do."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple, get_args

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_manager.core.decide import next_action
from flow_manager.core.decision import Circumstances, Plan, RunAttempt
from flow_manager.core.definition import END, Condition, Flow, Outcome, Task
from flow_manager.core.events import AttemptEnded, Event, ExecutionEnded, ExecutionStarted, Routed
from flow_manager.core.expressions import Expression
from flow_manager.core.results import TaskError
from flow_manager.core.routes import MOST_VISITS, Route, routes_of
from flow_manager.core.runs import Runs
from flow_manager.core.view import View
from flow_manager.core.ways import ways_out
from tests.support.expressions import expression
from tests.support.flows import flow_of

START: Final = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
NAMES: Final = ["a", "b", "c", "d", "e"]
MOST_TASK_RUNS: Final = 12
OUTCOMES: Final = get_args(Outcome)


def every(number: int) -> Expression:
    """True in every so many task runs."""
    return expression(lambda scope: scope["execution"]["task_runs"] % number == 0)


never = st.none()
sometimes = never | st.sampled_from([1, 2, 3]).map(every)


@st.composite
def flows(draw: st.DrawFn, expressions: st.SearchStrategy[Expression | None] = sometimes) -> Flow:
    names = NAMES[: draw(st.integers(1, 5))]
    targets = st.sampled_from([*names, END])
    sources = st.lists(st.sampled_from(names), max_size=8)
    conditions = [
        Condition(
            f"c{number}",
            source,
            outcome=draw(st.sampled_from(OUTCOMES)),
            target_task_success=draw(targets),
            target_task_failure=draw(targets),
            when=draw(expressions),
        )
        for number, source in enumerate(draw(sources))
    ]
    if draw(st.booleans()):  # a way through all of them
        conditions += [
            Condition(f"to_{name}", before, target_task_success=name) for before, name in pairwise(names)
        ]
    made = [Task(name, name, optional=draw(st.booleans()), run_when=draw(expressions)) for name in names]
    return flow_of(*made, conditions=conditions, max_task_runs=MOST_TASK_RUNS)


class Known(NamedTuple):
    """The tasks that had a result, at a point of the flow."""

    point: str
    is_after: bool
    tasks: frozenset[str]


class Drive:
    """An execution whose task runs have these outcomes."""

    def __init__(self, flow: Flow, outcomes: list[Outcome]) -> None:
        self.known: list[Known] = []
        self.events: list[Event] = [ExecutionStarted(START, flow.id)]
        self._flow = flow
        self._view = View.fold("e1", self.events)
        while isinstance(action := self._decide(), RunAttempt):
            self._know(action.task.name)
            outcome = outcomes.pop(0) if outcomes else "success"
            error = None if outcome == "success" else TaskError("task.failed", "no")
            ended = AttemptEnded(START, action.task.name, self._view.run, 1, outcome, data={}, error=error)
            self.events.append(ended)
            self._view.apply(ended)
            self._know(action.task.name, is_after=True)

    def _decide(self) -> object:
        plan = Plan()
        action = next_action(self._flow, self._view, plan, Circumstances(START, 0.5, NAMES))
        self.events += plan.events
        return action

    def _know(self, point: str, is_after: bool = False) -> None:
        self.known.append(Known(point, is_after, frozenset(self._view.results)))

    @property
    def routed(self) -> list[Routed]:
        return [event for event in self.events if isinstance(event, Routed)]

    @property
    def end(self) -> ExecutionEnded:
        end = self.events[-1]
        assert isinstance(end, ExecutionEnded)
        return end


def is_taken(route: Route, routed: list[Routed], flow: Flow) -> bool:
    """Whether the recorded routing decisions went this way."""
    if len(route.ways) != len(routed):
        return False
    return all(
        (way.source, way.target, way.is_match) == (event.task, event.to, event.matched)
        and (None if way.condition is None else way.condition.name) == event.condition
        and ("success" if flow.tasks[event.task].optional else event.outcome) in way.outcomes
        for way, event in zip(route.ways, routed, strict=True)
    )


outcome_lists = st.lists(st.sampled_from(OUTCOMES), max_size=MOST_TASK_RUNS)


@settings(max_examples=500)
@given(flows(), outcome_lists)
def test_every_execution_goes_a_route_that_was_told(flow: Flow, outcomes: list[Outcome]) -> None:
    drive, report = Drive(flow, list(outcomes)), routes_of(flow)

    visits = [event.task for event in drive.routed]
    if drive.end.error is not None and drive.end.error.code == "limit.task_runs":
        note("too many task runs")
        return
    if report.is_truncated or max(map(visits.count, visits)) > MOST_VISITS:
        note("too long to be listed")
        return
    taken = [route for route in report.routes if is_taken(route, drive.routed, flow)]
    assert [route.status for route in taken] == [drive.end.status.value]
    assert taken[0].has_loop == (len(set(visits)) < len(visits))
    assert drive.end.error is None or visits[-1] in report.unhandled_failures


@settings(max_examples=500)
@given(flows(), outcome_lists)
def test_every_execution_has_the_results_that_were_told(flow: Flow, outcomes: list[Outcome]) -> None:
    drive, runs = Drive(flow, list(outcomes)), Runs(flow)

    for known in drive.known:
        surely, possibly = runs.at(known.point, known.is_after)
        had = sum(runs.bit(name) for name in known.tasks)
        assert surely & ~had == 0, known
        assert had & ~possibly == 0, known


@settings(max_examples=300)
@given(flows(never))
def test_every_route_that_was_told_can_be_taken(flow: Flow) -> None:
    for route in routes_of(flow).routes:
        if len(route.ways) <= MOST_TASK_RUNS:
            drive = Drive(flow, [min(way.outcomes) for way in route.ways])

            assert is_taken(route, drive.routed, flow)
            assert route.status == drive.end.status.value


def told(flow: Flow, point: str, is_after: bool = False) -> tuple[str, str]:
    """The names, without spaces, of the tasks that have surely, and have possibly, had a run."""
    runs = Runs(flow)
    surely, possibly = runs.at(point, is_after)
    names = [name for name in flow.tasks if runs.bit(name)]
    return (
        "".join(name for name in names if runs.bit(name) & surely),
        "".join(name for name in names if runs.bit(name) & possibly),
    )


def goes(source: str, success: str, failure: str = END) -> Condition:
    return Condition(f"from_{source}", source, target_task_success=success, target_task_failure=failure)


CHAIN: Final = flow_of("a", "b", "c", conditions=[goes("a", "b"), goes("b", "c")])
FORK: Final = flow_of("a", "b", "c", "d", conditions=[goes("a", "b", "c"), goes("b", "d"), goes("c", "d")])
LOOP: Final = flow_of("a", "b", "c", conditions=[goes("a", "b"), goes("b", "c", "a")])
ITSELF: Final = flow_of("a", "b", conditions=[goes("a", "b", "a")])
UNDONE: Final = flow_of(
    Task("a", "a", compensate_with="u"), Task("b", "b", compensate_with="u"), "u", conditions=[goes("a", "b")]
)


@pytest.mark.parametrize(
    ("flow", "point", "is_after", "surely", "possibly"),
    [
        (CHAIN, "a", False, "", ""),
        (CHAIN, "a", True, "a", "a"),
        (CHAIN, "c", False, "ab", "ab"),
        (CHAIN, END, False, "abc", "abc"),
        (FORK, "d", False, "a", "abc"),
        (FORK, "d", True, "ad", "abcd"),
        (FORK, END, False, "ad", "abcd"),
        (LOOP, "a", False, "", "ab"),
        (LOOP, "b", False, "a", "ab"),
        (LOOP, "c", False, "ab", "ab"),
        (ITSELF, "a", False, "", "a"),
        (ITSELF, "b", False, "a", "a"),
        (UNDONE, "u", False, "a", "abu"),
        (flow_of("a", "b"), "b", False, "ab", "ab"),
    ],
)
def test_results_are_told_for_each_point(
    flow: Flow, point: str, is_after: bool, surely: str, possibly: str
) -> None:
    assert told(flow, point, is_after) == (surely, possibly)


def reached(flow: Flow, start: str, without: str = "") -> set[str]:
    """All points that ways lead to from `start`, by at least one way, and by no way out of `without`."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        for way in ways_out(flow, flow.tasks[name]) if name != without else ():
            if way.target == END and way.can_complete:
                found.add(END)
            elif way.target != END and way.target not in found:
                found.add(way.target)
                waiting.append(way.target)
    return found


@settings(max_examples=300)
@given(flows())
def test_surely_is_what_no_way_goes_round_and_possibly_what_a_way_leads_from(flow: Flow) -> None:
    start = flow.start_task
    points = {start} | reached(flow, start)

    for point in points:
        surely, possibly = told(flow, point)
        around = [
            name for name in flow.tasks if point == start or point in reached(flow, start, without=name)
        ]
        from_there = [name for name in flow.tasks if name in points and point in reached(flow, name)]
        assert surely == "".join(name for name in flow.tasks if name in points and name not in around)
        assert possibly == "".join(from_there)


@pytest.mark.parametrize(
    "back_to",
    [
        lambda number: 0,
        lambda number: max(0, number - 1),
        lambda number: number // 2,
        lambda number: number + 2,
    ],
    ids=["start", "before", "half", "forth"],
)
def test_ten_thousand_tasks_in_circles_are_no_trouble(back_to: Callable[[int], int]) -> None:
    names = [f"t{number}" for number in range(10_000)]
    last = len(names) - 1
    conditions = [
        goes(name, names[min(last, number + 1)], names[min(last, back_to(number))])
        for number, name in enumerate(names[:-1])
    ]
    flow = flow_of(*names, conditions=conditions)

    began = time.process_time()
    Runs(flow)

    assert time.process_time() - began < 1.0
