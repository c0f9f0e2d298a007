"""What a task body is given: the flow's input, earlier results, and who it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar, overload

import msgspec

from flow_manager.core.results import TaskExecutionResult, TaskStatus
from flow_manager.core.view import Attempt

_Default = TypeVar("_Default")

_log = logging.getLogger("flow_manager.task")


class Cancellation:
    """A flag that the engine raises when nobody waits for the attempt any more."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True


class TaskContext(Mapping[str, TaskExecutionResult]):
    """One attempt's view of its execution. As a mapping it holds the earlier results by task name.

    What it hands out is the task's own copy: changing it changes nothing else.
    """

    def __init__(
        self,
        *,
        execution_id: str,
        flow_id: str,
        task_name: str,
        run: int,
        attempt: int,
        input: Mapping[str, Any],
        task_input: Mapping[str, Any] | None,
        attempts: Mapping[str, Attempt],
        cancellation: Cancellation,
    ) -> None:
        self.execution_id = execution_id
        self.flow_id = flow_id
        self.task_name = task_name
        self.run = run
        """The number of this task run in the execution, from 1."""
        self.attempt = attempt
        """The number of this attempt in the task run, from 1."""
        self._input = input
        self._task_input = task_input
        self._attempts = attempts
        self._cancellation = cancellation

    @cached_property
    def input(self) -> dict[str, Any]:
        """The input of the execution."""
        return _copy(self._input)

    @cached_property
    def task_input(self) -> dict[str, Any]:
        """The `input` of this task in the flow document; empty if it has none."""
        return _copy(self._task_input or {})

    @property
    def results(self) -> Mapping[str, TaskExecutionResult]:
        """The last result of each task that has run, by task name, in the order they ended."""
        return self

    @property
    def previous(self) -> TaskExecutionResult | None:
        """The result of the task that ran last, or None in the first task."""
        last = next(reversed(list(self)), None)
        return None if last is None else self[last]

    @cached_property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task run and for no other: pass it to remote systems
        so that a repeated attempt takes effect once."""
        step = f"{self.execution_id}/{self.run}/{self.task_name}"
        return hashlib.sha256(step.encode()).hexdigest()

    @cached_property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the execution, task and attempt."""
        names = {"execution_id": self.execution_id, "task": self.task_name, "attempt": self.attempt}
        return logging.LoggerAdapter(_log, names)

    @property
    def is_cancelled(self) -> bool:
        """Whether the attempt timed out or the service is stopping; a long body should look and return."""
        return self._cancellation.is_set

    def __getitem__(self, task_name: str) -> TaskExecutionResult:
        entry = self._attempts[task_name]
        status = TaskStatus(entry.status)
        return TaskExecutionResult(task_name, status, entry.message, _copy(entry.data), entry.error)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._attempts, key=lambda name: self._attempts[name].run))

    def __len__(self) -> int:
        return len(self._attempts)

    @overload
    def get(self, key: str) -> TaskExecutionResult | None: ...
    @overload
    def get(self, key: str, default: _Default) -> TaskExecutionResult | _Default: ...
    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._attempts else default

    def __contains__(self, key: object) -> bool:
        return key in self._attempts


def _copy(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
