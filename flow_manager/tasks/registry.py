"""The registry: which code stands behind a task type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from flow_manager.core.document import NAME_PATTERN
from flow_manager.core.problems import nearest
from flow_manager.errors import TaskRegistrationError
from flow_manager.ports.backend import TaskType
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor

Body = Callable[[TaskContext], Any]
Runs = Literal["async", "thread", "process"]

_Task = TypeVar("_Task", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RegisteredTask:
    """A task type and how to run it. `new_body()` gives the callable of one attempt."""

    name: str
    runs: Runs
    is_async: bool
    new_body: Callable[[], Body]
    input_model: type[BaseModel] | None
    origin: str
    description: str

    def describe(self) -> TaskType:
        schema = None if self.input_model is None else self.input_model.model_json_schema()
        return TaskType(self.name, self.runs, self.description, schema, self.origin)


class TaskRegistry(Mapping[str, RegisteredTask]):
    """Task types by name. A name is registered once; what is registered must be a task."""

    def __init__(self) -> None:
        self._tasks: dict[str, RegisteredTask] = {}
        self._input_models: dict[str, type[BaseModel] | None] = {}

    def register(self, name: str, task: Callable[..., Any]) -> None:
        """Register a `TaskExecutor` class, or a function that takes the context.

        Raises `TaskRegistrationError` for a bad name, a name that is taken, or something that is not a task.
        """
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            raise TaskRegistrationError(
                f"{name!r} cannot name a task: letters, digits, '_', '.' and '-', starting with a letter"
            )
        taken = self._tasks.get(name)
        if taken is not None:
            raise TaskRegistrationError(
                f"a task named {name!r} is registered already, by {taken.origin}; give this one another name"
            )
        self._tasks[name] = registered = _registered(name, task)
        self._input_models[name] = registered.input_model

    def input_models(self) -> Mapping[str, type[BaseModel] | None]:
        """The input model of every task type, None where any input will do. It grows with the registry."""
        return MappingProxyType(self._input_models)

    def task_types(self) -> list[TaskType]:
        return [self._tasks[name].describe() for name in sorted(self._tasks)]

    def __getitem__(self, name: str) -> RegisteredTask:
        return self._tasks[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


REGISTRY = TaskRegistry()
"""Where `register_task` puts tasks, and where the service finds them."""


def register_task(name: str) -> Callable[[_Task], _Task]:
    """Register the decorated class or function under `name`."""

    def register(task: _Task) -> _Task:
        REGISTRY.register(name, task)
        return task

    return register


def _registered(name: str, task: Callable[..., Any]) -> RegisteredTask:
    if inspect.isclass(task):
        return _from_class(name, task)
    if inspect.isfunction(task) or inspect.ismethod(task):
        return _from_function(name, task)
    raise TaskRegistrationError(
        f"{task!r} is not a task: register a class that inherits from TaskExecutor, or a function"
    )


def _from_class(name: str, task: type[Any]) -> RegisteredTask:
    if not issubclass(task, TaskExecutor):
        raise TaskRegistrationError(f"{task.__qualname__} is not a task: let it inherit from TaskExecutor")
    execute = task.execute
    if execute is TaskExecutor.execute:
        raise TaskRegistrationError(f"{task.__qualname__} is not a task yet: it lacks execute(self, context)")
    _must_take_context(execute, task.__qualname__ + ".execute", given=2)
    try:
        inspect.signature(task).bind()
    except TypeError as error:
        raise TaskRegistrationError(
            f"{task.__qualname__} must be creatable without arguments: {error}"
        ) from error
    if task.isolation not in ("thread", "process"):
        likely = nearest(str(task.isolation), ("thread", "process")) or "process"
        raise TaskRegistrationError(
            f"{task.__qualname__}.isolation is {task.isolation!r}; did you mean {likely!r}?"
        )
    is_async = inspect.iscoroutinefunction(execute)
    runs: Runs = "process" if task.isolation == "process" else "async" if is_async else "thread"
    return RegisteredTask(
        name, runs, is_async, lambda: task().execute, task.input_model, _origin(task), _first_line(task)
    )


def _from_function(name: str, task: Callable[..., Any]) -> RegisteredTask:
    _must_take_context(task, task.__qualname__, given=1)
    is_async = inspect.iscoroutinefunction(task)
    runs: Runs = "async" if is_async else "thread"
    return RegisteredTask(name, runs, is_async, lambda: task, None, _origin(task), _first_line(task))


def _must_take_context(body: Callable[..., Any], called: str, given: int) -> None:
    try:
        inspect.signature(body).bind(*[None] * given)
    except TypeError as error:
        raise TaskRegistrationError(
            f"{called} is not a task: it is called with one argument, the context ({error})"
        ) from error


def _origin(task: Callable[..., Any]) -> str:
    return f"{task.__module__}:{task.__qualname__}"


def _first_line(task: Callable[..., Any]) -> str:
    text = (task.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""
