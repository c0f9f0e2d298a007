"""What a task body is given: the flow's input, earlier results, and who it is."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar, overload

import orjson

from flow_manager.core.results import TaskExecutionResult, TaskStatus
from flow_manager.ports.worker import AttemptOrder

_Default = TypeVar("_Default")

_log = logging.getLogger("flow_manager.task")


class Cancellation:
    """A flag that the engine raises when nobody waits for the attempt any more; and, the other way,
    the heartbeats of the body."""

    __slots__ = ("beat_at", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self.beat_at: float | None = None
        """Monotonic time of the last heartbeat; the start of the body is the first."""

    def set(self) -> None:
        self.is_set = True

    def beat(self) -> None:
        self.beat_at = time.monotonic()


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry the execution, task and attempt beside the author's own `extra`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


class TaskContext(Mapping[str, TaskExecutionResult]):
    """One attempt's view of its execution. As a mapping it holds the earlier results by task name.

    What it hands out is the task's own copy: changing it changes nothing else. Everything is made
    when it is asked for, since most bodies ask for little.
    """

    __slots__ = ("_cancellation", "_input", "_logger", "_order", "_task_input")

    def __init__(self, order: AttemptOrder, cancellation: Cancellation) -> None:
        self._order = order
        self._cancellation = cancellation
        self._input: dict[str, Any] | None = None
        self._task_input: dict[str, Any] | None = None
        self._logger: TaskLogger | None = None

    @property
    def execution_id(self) -> str:
        return self._order.execution_id

    @property
    def flow_id(self) -> str:
        return self._order.flow_id

    @property
    def task_name(self) -> str:
        return self._order.task

    @property
    def run(self) -> int:
        """The number of this task run in the execution, from 1."""
        return self._order.run

    @property
    def attempt(self) -> int:
        """The number of this attempt in the task run, from 1."""
        return self._order.attempt

    @property
    def input(self) -> dict[str, Any]:
        """The input of the execution."""
        if self._input is None:
            self._input = _copy(self._order.input)
        return self._input

    @property
    def task_input(self) -> dict[str, Any]:
        """The `input` of this task in the flow document; empty if it has none."""
        if self._task_input is None:
            self._task_input = _copy(self._order.task_input)
        return self._task_input

    @property
    def results(self) -> Mapping[str, TaskExecutionResult]:
        """The last result of each task that has run, by task name, in the order they ended."""
        return self

    @property
    def previous(self) -> TaskExecutionResult | None:
        """The result of the task that ran last, or None in the first task."""
        attempts = self._order.attempts
        last = max(attempts, key=lambda name: attempts[name].run, default=None)
        return None if last is None else self[last]

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task run and for no other: pass it to remote systems
        so that a repeated attempt takes effect once."""
        step = f"{self.execution_id}/{self.run}/{self.task_name}"
        return hashlib.sha256(step.encode()).hexdigest()

    @property
    def logger(self) -> TaskLogger:
        """A logger whose lines carry `execution_id`, `task` and `attempt`."""
        if self._logger is None:
            names = {"execution_id": self.execution_id, "task": self.task_name, "attempt": self.attempt}
            self._logger = TaskLogger(_log, names)
        return self._logger

    @property
    def is_cancelled(self) -> bool:
        """Whether the attempt timed out or the service is stopping; a long body should look and return."""
        return self._cancellation.is_set

    def cancel(self) -> None:
        """Tell the body that nobody waits for it any more."""
        self._cancellation.set()

    def heartbeat(self) -> None:
        """Tell that the body is alive: needed at least once in `heartbeat_timeout`, if the task has one."""
        self._cancellation.beat()

    def __getitem__(self, task_name: str) -> TaskExecutionResult:
        entry = self._order.attempts.get(task_name)
        if entry is None:
            raise KeyError(f"no task named {task_name!r} has ended before this one")
        status = TaskStatus(entry.status)
        return TaskExecutionResult(task_name, status, entry.message, _copy(entry.data), entry.error)

    def __iter__(self) -> Iterator[str]:
        attempts = self._order.attempts
        return iter(sorted(attempts, key=lambda name: attempts[name].run))

    def __len__(self) -> int:
        return len(self._order.attempts)

    @overload
    def get(self, key: str) -> TaskExecutionResult | None: ...
    @overload
    def get(self, key: str, default: _Default) -> TaskExecutionResult | _Default: ...
    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._order.attempts else default

    def __contains__(self, key: object) -> bool:
        return key in self._order.attempts


def _copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))
