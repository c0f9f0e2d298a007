"""The base class of tasks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from flow_manager.tasks.context import TaskContext


class TaskExecutor:
    """A task. Inherit, write `execute`, register the class with `@register_task("name")`.

    `execute` may be `def` (it runs in a pool of threads) or `async def` (it runs on the engine's
    loop). It returns a dict, a `TaskExecutionResult`, or nothing; raising means failure, with the
    exception's message. Each attempt gets an instance of its own, made without arguments.
    """

    isolation: ClassVar[Literal["thread", "process"]] = "thread"
    """`process` gives every attempt to a process of its own: for bodies that use the CPU for long
    or may crash."""

    input_model: ClassVar[type[BaseModel] | None] = None
    """A pydantic model that the task's `input` must fit: what is constant in it when the flow is
    checked, and all of it before the body runs."""

    checks_its_input: ClassVar[bool] = False
    """Whether the body itself looks at its input, and the check before it is left out."""

    def execute(self, context: TaskContext) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no execute(self, context)")
