"""A clock that is moved by hand, and a worker that does what a script says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from flow_manager.core.events import Event
from flow_manager.core.results import TaskError
from flow_manager.core.view import View
from flow_manager.ports.worker import AttemptOrder, AttemptResult

SUCCESS = AttemptResult("success", "done", {})
FAILURE = AttemptResult("failure", "no", None, TaskError("task.failed", "no"))
LOST = AttemptResult("unknown", "gone", None, TaskError("task.lost", "gone"), is_lost=True)


class FakeClock:
    def __init__(self) -> None:
        self._now = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class FakeWorker:
    """Answers each attempt of a task with the next result of its script, and then with success.
    An answer may be a coroutine function, to take time over it."""

    def __init__(
        self,
        scripts: Mapping[str, Sequence[AttemptResult]] | None = None,
        task_types: Container[str] = frozenset("abcdef"),
    ) -> None:
        self._scripts = {name: deque(script) for name, script in (scripts or {}).items()}
        self.task_types = task_types
        self.orders: list[AttemptOrder] = []
        self.gates: dict[str, asyncio.Event] = {}
        """A task with a gate waits until it is set."""
        self.on_run: Callable[[AttemptOrder], None] = lambda _: None

    async def run(self, order: AttemptOrder) -> AttemptResult:
        self.orders.append(order)
        self.on_run(order)
        gate = self.gates.get(order.task)
        if gate is not None:
            await gate.wait()
        script = self._scripts.get(order.task)
        return script.popleft() if script else SUCCESS

    async def stop(self) -> None: ...

    @property
    def started(self) -> list[tuple[str, int]]:
        """Task and attempt of everything that was started, in order."""
        return [(order.task, order.attempt) for order in self.orders]


class FakeWaiter:
    """Notes what it is told. `waits` says whether it waits for the end."""

    def __init__(self, *, waits: bool = True) -> None:
        self.waits = waits
        self.execution_id = ""
        self.view: View | None = None
        self.error: Exception | None = None
        self.told = asyncio.Event()
        self.was_left = False

    def started(self, execution_id: str) -> bool:
        self.execution_id = execution_id
        return self.waits

    def ended(self, view: View) -> None:
        self.view = view
        self.told.set()

    def left(self, execution_id: str) -> None:
        self.was_left = True
        self.told.set()

    def failed(self, error: Exception) -> None:
        self.error = error
        self.told.set()


class FakeObserver:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def recorded(self, view: View, events: Sequence[Event]) -> None:
        self.events += events
