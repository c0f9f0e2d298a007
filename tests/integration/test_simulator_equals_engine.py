"""Any flow, with any mocks: the simulator's history is that of the engine on a real store, also when
the engine is killed on the way and goes on from what its file holds."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import apsw
from hypothesis import assume, given, settings
from hypothesis import event as note
from hypothesis import strategies as st

from flow_manager.core.definition import Flow, Task
from flow_manager.core.events import Event, encode_event
from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.mocks import Simulation, places_of, task_at
from flow_manager.core.simulation.simulate import SUCCESS, MockedScript, Simulated, checked, play, simulate
from flow_manager.core.simulation.virtual_execution import VirtualExecution
from flow_manager.core.simulation.whatif import Comparison, what_if
from flow_manager.core.states import FAR_AWAY
from flow_manager.ports.store import NewMail
from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.engine import Engine, engine
from tests.support.fakes import FakeClock, FakeWaiter, FakeWorker

NAMES: Final = ["a", "b", "c", "d", "e"]
UNDOING: Final = ["undo_a", "undo_b"]
MOST_LOOKS: Final = 500

# -- documents and mocks

whens = st.sampled_from(
    [
        "result.data.n > 1",
        "has(result.data.n) && result.data.n > 1",
        "outcome == 'timeout'",
        "execution.task_runs < 3",
        "size(results) > 2",
        "execution.labels.colour == 'red' || input.big",
    ]
)
retries = st.fixed_dictionaries(
    {
        "max_attempts": st.integers(1, 3),
        "delay": st.sampled_from([1, 7, 30]),
        "backoff": st.sampled_from([1, 2, 3]),
        "jitter": st.just("none"),
    },
    optional={"budget": st.sampled_from([5, 40]), "never_on": st.just(["shop.no"])},
)
bodies = st.fixed_dictionaries(
    {"type": st.just("work")},
    optional={
        "retry": retries,
        "on_lost": st.sampled_from(["retry", "unknown"]),
        "optional": st.just(True),
        "run_when": st.sampled_from(["input.big", "execution.task_runs < 2", "results.a.data.n == 1"]),
        "input": st.sampled_from([{"n": "${input.count + 1}"}, {"n": "${results.a.data.n}"}, {"k": [1]}]),
        "output_schema": st.just({"properties": {"n": {"maximum": 2}}}),
        "compensate_with": st.sampled_from(UNDOING),
    },
)
steps = st.one_of(
    st.builds(lambda n: {"type": "wait", "input": {"for": n}}, st.sampled_from([1, 20, 86400])),
    st.just(
        {"type": "transform", "input": {"n": "${input.count}", "text": "${input.count} of ${input.big}"}}
    ),
    st.just({"type": "succeed", "input": {"output": {"runs": "${execution.task_runs}"}}}),
    st.just({"type": "fail", "input": {"code": "shop.closed", "message": "no"}}),
    st.builds(
        lambda name, timeout: {"type": "signal", "input": {"name": name} | timeout},
        st.sampled_from(["go", "stop"]),
        st.sampled_from([{}, {"timeout": 9}, {"timeout": 50}]),
    ),
)


@st.composite
def flows(draw: st.DrawFn, parallel: bool, depth: int = 0) -> dict[str, Any]:
    names = NAMES[: draw(st.integers(1, 4 if depth == 0 else 2))]
    kinds = (
        st.one_of(bodies, bodies, steps)
        if depth
        else st.one_of(bodies, bodies, steps, with_children(parallel))
    )
    tasks = [{"name": name, **draw(kinds)} for name in names]
    undoing = sorted({task["compensate_with"] for task in tasks if "compensate_with" in task})
    tasks += [{"name": name, "type": "work", "retry": draw(retries)} for name in undoing]
    targets = st.sampled_from([*names, "end"])
    conditions = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "source_task": st.sampled_from(names),
                    "outcome": st.sampled_from(["success", "success", "failure", "timeout", "unknown"]),
                    "target_task_success": targets,
                    "target_task_failure": targets,
                },
                optional={"when": whens},
            ),
            max_size=6,
        )
    )
    flow: dict[str, Any] = {
        "id": f"flow{depth}",
        "name": "Any",
        "start_task": names[0],
        "tasks": tasks,
        "conditions": [{"name": f"c{number}", **each} for number, each in enumerate(conditions)],
        "max_task_runs": draw(st.integers(1, 8)),
    }
    if draw(st.booleans()):
        # No two executions are due at the same time: which goes first is not said.
        flow["timeout"] = draw(st.sampled_from([2, 25, 90_000])) + 2 ** -(depth + 3)
    if draw(st.booleans()):
        flow["output"] = {"count": "${input.count}", "last": "${execution.task_runs}"}
    return flow


@st.composite
def with_children(draw: st.DrawFn, parallel: bool) -> dict[str, Any]:
    child, given = draw(flows(parallel, 1)), {"count": 1, "big": draw(st.booleans())}
    if draw(st.booleans()):
        return {"type": "flow", "input": {"flow": child, "input": given}}
    items = draw(st.lists(st.integers(0, 3), max_size=3))
    # Of those that run side by side nobody is cancelled: how far they had come would not be said.
    most, tolerated = (3, 3) if parallel and draw(st.booleans()) else (1, draw(st.integers(0, 2)))
    each = {"items": items, "max_parallel": most, "tolerate": tolerated}
    return {"type": "for_each", "input": {"flow": child, "input": given, **each}}


mocks = st.sampled_from(
    [
        {"data": {"n": 1}},
        {"data": {"n": 2}, "message": "well"},
        {"data": {"n": 3}},
        {"error": {"code": "shop.no", "message": "no"}},
        {"error": {"code": "shop.busy", "details": {"retry_after": 3}}},
        {"error": {"code": "shop.gone", "retryable": False}},
        {"outcome": "timeout"},
        {"outcome": "unknown"},
    ]
)


@st.composite
def simulations(draw: st.DrawFn, flow: Flow, parallel: bool) -> Simulation:
    bodies = [place for place in places_of(flow) if is_body(task_at(flow, place))]
    scripts = {}
    for place in bodies:
        # Children side by side take the mocks of a task in any order, so that there can be but one.
        most = 1 if parallel and "/" in place else 4
        if draw(st.booleans()):
            scripts[place] = draw(st.lists(mocks, min_size=1, max_size=most))
    times = draw(st.lists(st.sampled_from([0.25, 4.5, 60.5]), unique=True))
    signals = [
        {"name": draw(st.sampled_from(["go", "stop"])), "payload": {"k": after}, "after": after}
        for after in times
    ]
    return Simulation.model_validate(
        {
            "input": {"count": draw(st.integers(0, 2)), "big": draw(st.booleans())},
            "mocks": scripts,
            "signals": signals,
            "now": "2026-01-14T10:30:00Z",
        }
    )


def is_body(task: Task | None) -> bool:
    return task is not None and task.type == "work"


@st.composite
def played(draw: st.DrawFn, parallel: bool = False) -> tuple[Flow, Simulation, frozenset[int]]:
    """A flow, with what it is played, and the numbers of the attempts in which the engine is killed."""
    report = FlowParser().check(draw(flows(parallel)))
    assume(report.flow is not None)
    assert report.flow is not None
    kills = draw(st.frozensets(st.integers(1, 8), max_size=3))
    return report.flow, draw(simulations(report.flow, parallel)), kills


# -- the two that are compared


class KilledScript(MockedScript):
    """Mocks, with kills in the attempts of these numbers."""

    def __init__(self, simulation: Simulation, kills: frozenset[int]) -> None:
        super().__init__(simulation.mocks, Counter())
        self._kills = kills
        self._started = 0

    def crashes(self, execution: VirtualExecution, task: Task) -> bool:
        if not is_body(task):
            return False
        self._started += 1
        return self._started in self._kills


class MockedWorker(FakeWorker):
    """The same mocks, for the engine. In a kill it takes a copy of what is stored, and never answers."""

    def __init__(self, flow: Flow, simulation: Simulation, kills: frozenset[int]) -> None:
        super().__init__(task_types={"work"})
        self._flow = flow
        self._script = MockedScript(simulation.mocks, Counter())
        self._kills = kills
        self._path = self.copy = Path()
        self._store: SqliteStore | None = None
        self.killed = asyncio.Event()
        self.started_attempts = 0

    def begin(self, path: Path, store: SqliteStore) -> None:
        """Work for this engine."""
        self._path, self._store = path, store
        self.killed = asyncio.Event()

    async def run(self, order: AttemptOrder) -> AttemptResult:
        self.started_attempts += 1
        if self.started_attempts in self._kills:
            self.copy = self._path.with_suffix(f".{self.started_attempts}")
            snapshot(self._path, self.copy)
            self.killed.set()
            await asyncio.Event().wait()
        place, task = self._place_of(order)
        answer = self._script.next_at(place)
        answer = SUCCESS if answer is None else checked(answer, task.output_schema)
        return AttemptResult(answer.outcome, answer.message, answer.data, answer.error)

    def _place_of(self, order: AttemptOrder) -> tuple[str, Task]:
        assert self._store is not None
        parent = self._store.describe(order.execution_id).parent
        if parent is None:
            return order.task, self._flow.tasks[order.task]
        above = next(
            entry.task
            for entry in self._store.describe(parent.execution_id).attempts
            if entry.run == parent.run
        )
        child = self._flow.tasks[above].child
        assert child is not None
        return f"{above}/{order.task}", child.tasks[order.task]


def snapshot(path: Path, copy: Path) -> None:
    """What is committed now: all that a kill leaves behind."""
    source = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    target = apsw.Connection(str(copy))
    with target.backup("main", source, "main") as backup:
        backup.step()
    source.close()
    target.close()


class Run:
    """An execution on the engine, driven to where nothing moves it any more."""

    def __init__(self, folder: Path, flow: Flow, simulation: Simulation, kills: frozenset[int]) -> None:
        self._path = folder / "engine.db"
        self._flow = flow
        self._simulation = simulation
        self._clock = FakeClock()
        self._worker = MockedWorker(flow, simulation, kills)
        self._start = self._clock.now()
        self._signals = sorted(
            ((self._start + (signal.after or timedelta()), signal) for signal in simulation.signals),
            key=lambda pair: pair[0],
        )
        self._id = ""

    async def texts(self) -> list[list[str]]:
        """All histories, once nothing moves the execution any more."""
        while True:
            async with engine(self._path, self._worker, self._clock) as running:
                self._worker.begin(self._path, running.store)
                driving = asyncio.ensure_future(self._drive(running))
                killed = asyncio.ensure_future(self._worker.killed.wait())
                await asyncio.wait((driving, killed), return_when=asyncio.FIRST_COMPLETED)
                killed.cancel()
                if driving.done():
                    driving.result()
                    return self._read(running.store)
                driving.cancel()
            self._path = self._worker.copy

    async def _drive(self, running: Engine) -> None:
        if not self._id:
            labels = {**self._flow.labels, **self._simulation.labels}
            waiter = FakeWaiter()
            running.orchestrator.start(self._flow, self._simulation.input, labels, waiter)
            while not waiter.execution_id:
                await asyncio.sleep(0)
            self._id = waiter.execution_id
        for _ in range(MOST_LOOKS):
            await running.settle()
            if running.store.describe(self._id).is_ended or not await self._move(running):
                return
        raise AssertionError("it does not come to its end")

    async def _move(self, running: Engine) -> bool:
        now = self._clock.now()
        agenda = running.store.agenda(now)
        if agenda.due:
            await running.look()
            return True
        due_at = agenda.next_at or FAR_AWAY
        if self._signals and self._signals[0][0] <= due_at:
            at, signal = self._signals.pop(0)
            self._advance(at)
            await running.orchestrator.send(
                NewMail(self._id, at, "signal", signal.name, signal.payload, signal.by)
            )
            return True
        if due_at >= FAR_AWAY:
            return False
        self._advance(due_at)
        return True

    def _advance(self, at: datetime) -> None:
        self._clock.advance((at - self._clock.now()).total_seconds())

    def _read(self, store: SqliteStore) -> list[list[str]]:
        """The histories of the execution and of all below it."""
        ids = [self._id]
        for execution_id in ids:
            ids += [child.execution_id for child in store.children(execution_id)]
        return texts_of({each: store.history(each) for each in ids})


def simulated_texts(simulated: Simulated) -> list[list[str]]:
    order = [simulated.execution]
    for execution in order:
        order += [child for attempt in sorted(execution.children) for child in execution.children[attempt]]
    return texts_of({each.view.execution_id: each.events for each in order})


def texts_of(histories: Mapping[str, Sequence[Event]]) -> list[list[str]]:
    """Events as text, in which ids are numbers."""
    texts = []
    for history in histories.values():
        lines = [encode_event(event) for event in history]
        for number, execution_id in enumerate(histories):
            lines = [line.replace(execution_id, f"#{number}") for line in lines]
        texts.append(lines)
    return texts


def engine_texts(flow: Flow, simulation: Simulation, kills: frozenset[int]) -> list[list[str]]:
    with tempfile.TemporaryDirectory(prefix="flow-manager-") as folder:
        return asyncio.run(Run(Path(folder), flow, simulation, kills).texts())


@settings(max_examples=80, deadline=None)
@given(played(parallel=True))
def test_the_simulator_does_what_the_engine_does(given: tuple[Flow, Simulation, frozenset[int]]) -> None:
    flow, simulation, _ = given
    simulated = simulate(flow, simulation)
    note(simulated.view.status.value if simulated.view.error is None else simulated.view.error.code)

    assert simulated_texts(simulated) == engine_texts(flow, simulation, frozenset())


@settings(max_examples=50, deadline=None)
@given(played())
def test_also_where_the_engine_is_killed_on_the_way(given: tuple[Flow, Simulation, frozenset[int]]) -> None:
    flow, simulation, kills = given
    simulated = play(flow, simulation, KilledScript(simulation, kills))

    assert simulated_texts(simulated) == engine_texts(flow, simulation, kills)


@settings(max_examples=200, deadline=None)
@given(played())
def test_a_flow_that_was_not_edited_takes_the_recorded_route(
    given: tuple[Flow, Simulation, frozenset[int]],
) -> None:
    flow, simulation, kills = given
    simulated = play(flow, simulation, KilledScript(simulation, kills))

    for execution in simulated.executions:
        note(execution.view.status.value)
        assert what_if(execution.flow, execution.events) == Comparison("same")
