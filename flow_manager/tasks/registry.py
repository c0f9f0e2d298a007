"""The registry: which code stands behind a task type."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from flow_manager.core.definition import END
from flow_manager.core.document_words import NAME_PATTERN
from flow_manager.core.problems import nearest
from flow_manager.core.steps import STEP_TYPES
from flow_manager.errors import TaskRegistrationError
from flow_manager.ports.backend import TaskType
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.source import Source, source_of

log = logging.getLogger(__name__)

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
    source: Source
    description: str
    checks_its_input: bool = False

    def describe(self) -> TaskType:
        schema = None if self.input_model is None else self.input_model.model_json_schema()
        return TaskType(self.name, self.runs, self.description, schema, str(self.source))


class TaskRegistry(Mapping[str, RegisteredTask]):
    """Task types by name. A name is registered once; what is registered must be a task.

    Code that runs again is no second registration: a module that is reloaded, or a cell of a
    notebook, replaces its own tasks; and where one file is imported under two names (`python
    app.py` runs it as `__main__`, and another module imports `app`), its first import stays.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, RegisteredTask] = {}
        self._input_models: dict[str, type[BaseModel] | None] = {}
        self._registered_by: dict[str, CodeType] = {}

    def register(self, name: str, task: Callable[..., Any]) -> None:
        """Register a `TaskExecutor` class, or a function that takes the context.

        Raises `TaskRegistrationError` for a bad name, a name that is taken, or something that is not a task.
        """
        self.register_for(sys._getframe(1).f_code, name, task)

    def register_for(self, caller: CodeType, name: str, task: Callable[..., Any]) -> None:
        """Register on behalf of the code that asked for it: it tells a second definition from the
        same one, executed again."""
        check_name(name)
        new = as_task(name, task)
        taken = self._tasks.get(name)
        if taken is None or self._is_run_again(taken, new, caller):
            self._tasks[name] = new
            self._input_models[name] = new.input_model
            self._registered_by[name] = caller
        elif taken.source.module != new.source.module and taken.source.is_the_same_code_as(new.source):
            log.warning("%s; the first is used", _imported_twice(taken.source, new.source))
        else:
            raise TaskRegistrationError(
                f"a task named {name!r} is registered already, by {taken.source}"
                f"{_place(taken.source)}; give {new.source}{_place(new.source)} another name"
            )

    def _is_run_again(self, taken: RegisteredTask, new: RegisteredTask, caller: CodeType) -> bool:
        before = self._registered_by[taken.name]
        return (
            taken.source == new.source and before is not caller and before.co_qualname == caller.co_qualname
        )

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
    check_name(name)

    def register(task: _Task) -> _Task:
        REGISTRY.register_for(sys._getframe(1).f_code, name, task)
        return task

    return register


def check_name(name: object) -> None:
    """Raises `TaskRegistrationError` for what cannot name a task."""
    if callable(name):
        called = getattr(name, "__name__", "this")
        raise TaskRegistrationError(f'{called} needs a name: @register_task("name")')
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise TaskRegistrationError(
            f"{name!r} is no name for a task: it has up to 128 letters, digits, '_', '.' and '-', "
            "a letter first"
        )
    if name in STEP_TYPES:
        raise TaskRegistrationError(f"{name!r} is a built-in task type; give the task another name")
    if name == END:
        raise TaskRegistrationError(f"{END!r} is no name for a task: it is where flows end")


def as_task(name: str, task: object) -> RegisteredTask:
    """A class or function as a task type. Raises `TaskRegistrationError` if it is not a task."""
    if inspect.isclass(task):
        return _from_class(name, task)
    if inspect.isfunction(task) or inspect.ismethod(task):
        return _from_function(name, task)
    if isinstance(task, TaskExecutor):
        raise TaskRegistrationError(f"register the class {type(task).__qualname__}, not an object of it")
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
    _must_be_creatable(task)
    _must_fit_its_model(task)
    source = source_of(task)
    is_async = inspect.iscoroutinefunction(execute)
    runs: Runs = "async" if is_async else "thread"
    if task.isolation == "process":
        runs = "process"
        if not source.can_be_found_again:
            raise TaskRegistrationError(
                f"{task.__qualname__} asks for a process of its own, which cannot import what is typed into "
                "an interactive session: define it in a file"
            )
    elif task.isolation != "thread":
        likely = nearest(str(task.isolation), ("thread", "process")) or "process"
        raise TaskRegistrationError(
            f"{task.__qualname__}.isolation is {task.isolation!r}; did you mean {likely!r}?"
        )
    return RegisteredTask(
        name,
        runs,
        is_async,
        lambda: task().execute,
        task.input_model,
        source,
        _first_line(task),
        task.checks_its_input,
    )


def _from_function(name: str, task: Callable[..., Any]) -> RegisteredTask:
    _must_take_context(task, task.__qualname__, given=1)
    is_async = inspect.iscoroutinefunction(task)
    runs: Runs = "async" if is_async else "thread"
    return RegisteredTask(name, runs, is_async, lambda: task, None, source_of(task), _first_line(task))


def _must_take_context(body: Callable[..., Any], called: str, given: int) -> None:
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise TaskRegistrationError(f"{called} is not a task: it yields, and a task returns its result once")
    try:
        inspect.signature(body).bind(*[None] * given)
    except TypeError as error:
        raise TaskRegistrationError(
            f"{called} is not a task: it is called with one argument, the context ({error})"
        ) from error


def _must_be_creatable(task: type[Any]) -> None:
    if inspect.isabstract(task):
        missing = ", ".join(sorted(task.__abstractmethods__))
        raise TaskRegistrationError(f"{task.__qualname__} is not a task yet: {missing} is abstract")
    try:
        inspect.signature(task).bind()
    except TypeError as error:
        raise TaskRegistrationError(
            f"{task.__qualname__} must be creatable without arguments: {error}"
        ) from error


def _must_fit_its_model(task: type[TaskExecutor]) -> None:
    model: object = task.input_model
    if model is not None and not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise TaskRegistrationError(f"{task.__qualname__}.input_model is not a pydantic model: {model!r}")


def _imported_twice(first: Source, second: Source) -> str:
    words = f"{first.file} was imported twice, as {first.module!r} and as {second.module!r}"
    return f"{words}, so that {first.name} and the variables beside it exist twice"


def _place(source: Source) -> str:
    return "" if source.file is None else f" in {source.file}"


def _first_line(task: Callable[..., Any]) -> str:
    text = (task.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""
