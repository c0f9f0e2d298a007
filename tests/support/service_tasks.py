"""Tasks for the tests of the whole service. Each body leaves a line in a journal of its own, so that
what started can be compared with what was recorded."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from flow_manager.core.results import PermanentTaskError, RetryTask
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.registry import register_task


def _note(context: TaskContext, what: str) -> None:
    """One line per start of a body, written with one call, so that a kill cannot tear it."""
    path = os.environ.get("TASK_JOURNAL")
    if path is None:
        return
    line = f"{what} {context.execution_id} {context.task_name} {context.run} {context.attempt}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@register_task("nothing")
async def nothing(context: TaskContext) -> dict[str, Any]:
    """Succeeds at once, on the loop."""
    _note(context, "start")
    return {"input": context.task_input}


@register_task("plain")
def plain(context: TaskContext) -> dict[str, Any]:
    """Succeeds at once, in a thread."""
    _note(context, "start")
    return {"previous": None if context.previous is None else context.previous.data}


@register_task("sleep")
async def sleep(context: TaskContext) -> dict[str, Any]:
    """Waits `seconds` on the loop."""
    _note(context, "start")
    await asyncio.sleep(float(context.task_input.get("seconds", 0.05)))
    return {}


@register_task("nap")
def nap(context: TaskContext) -> dict[str, Any]:
    """Waits `seconds` in a thread."""
    _note(context, "start")
    time.sleep(float(context.task_input.get("seconds", 0.05)))
    return {}


@register_task("hold")
async def hold(context: TaskContext) -> dict[str, Any]:
    """Waits until the file `path` of its input is there."""
    _note(context, "start")
    while not Path(context.task_input["path"]).exists():
        await asyncio.sleep(0.01)
    return {}


@register_task("tell_and_hold")
async def tell_and_hold(context: TaskContext) -> dict[str, Any]:
    """Writes its input as a line at the end of the file `path`, then waits until the file `gate` is there."""
    _note(context, "start")
    with Path(context.task_input["path"]).open("a") as told:
        told.write(json.dumps(dict(context.task_input)) + "\n")
    while not Path(context.task_input["gate"]).exists():
        await asyncio.sleep(0.01)
    return {}


@register_task("flop")
def flop(context: TaskContext) -> None:
    """Fails, with `permanent` once and for all."""
    _note(context, "start")
    if context.task_input.get("permanent"):
        raise PermanentTaskError("no use trying again")
    raise RuntimeError("it did not work")


@register_task("fail_until")
async def fail_until(context: TaskContext) -> dict[str, Any]:
    """Fails until attempt number `attempt`."""
    _note(context, "start")
    if context.attempt < int(context.task_input["attempt"]):
        raise RetryTask("not yet", after=float(context.task_input.get("after", 0.01)))
    return {"attempt": context.attempt}


@register_task("kill_service")
def kill_service(context: TaskContext) -> None:
    """Kills the process of the service, each time."""
    _note(context, "start")
    os.kill(os.getpid(), 9)


@register_task("return")
def return_value(context: TaskContext) -> Any:
    """Returns what nobody should return."""
    _note(context, "start")
    return unstorable(str(context.task_input["what"]))


class InProcess(TaskExecutor):
    isolation: ClassVar[Literal["thread", "process"]] = "process"


@register_task("isolated")
class Isolated(InProcess):
    """In a process of its own: ends it as its input says, or succeeds."""

    def execute(self, context: TaskContext) -> Any:
        _note(context, "start")
        how = context.task_input.get("how", "return")
        if how == "exit":
            os._exit(7)
        if how == "kill":
            os.kill(os.getpid(), 9)
        if how == "sys.exit":
            raise SystemExit(3)
        if how == "base_exception":
            raise KeyboardInterrupt
        if how == "what":
            return unstorable(str(context.task_input["what"]))
        return {"pid": os.getpid()}


def unstorable(what: str) -> Any:
    deep: Any = {}
    if what == "deep":
        for _ in range(100_000):
            deep = {"d": deep}
        return deep
    values: dict[str, Any] = {
        "huge": lambda: {"text": "x" * (100 << 20)},
        "many": lambda: {str(number): number for number in range(1_000_000)},
        "nul": lambda: {"text": "a\0b"},
        "surrogate": lambda: {"text": "\ud800"},
        "nan": lambda: {"number": float("nan")},
        "integer": lambda: {"number": 2**63},
        "bytes": lambda: {"bytes": b"abc"},
        "object": lambda: {"object": object()},
        "list": lambda: [1, 2, 3],
    }
    return values[what]()


class Complaint(BaseModel):
    text: str


@register_task("complain")
class Complain(TaskExecutor):
    """Fails with the `text` of its input."""

    input_model: ClassVar[type[BaseModel]] = Complaint

    def execute(self, context: TaskContext) -> None:
        _note(context, "start")
        raise RuntimeError(context.task_input["text"])
