"""Bodies for child processes: each ends in its own way."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.registry import register_task


class InProcess(TaskExecutor):
    isolation: ClassVar[Literal["thread", "process"]] = "process"


@register_task("process.answer")
class Answer(InProcess):
    """Tells who it is and what it was given."""

    def execute(self, context: TaskContext) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "input": context.input,
            "task_input": context.task_input,
            "earlier": {name: result.data for name, result in context.results.items()},
            "key": context.idempotency_key,
            "path": [path for path in sys.path if path],
        }


@register_task("process.async")
class Async(InProcess):
    async def execute(self, context: TaskContext) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"pid": os.getpid()}


@register_task("process.end")
class End(InProcess):
    """Ends its process, as `how` says."""

    def execute(self, context: TaskContext) -> None:
        how = context.task_input["how"]
        if how == "os._exit":
            os._exit(7)
        if how == "SIGSEGV":
            # No report on stderr, and no core file: the crash itself is what is wanted.
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
            ctypes.string_at(0)
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "sys.exit":
            sys.exit(3)
        if how == "sys.exit with words":
            sys.exit("enough")
        if how == "close":
            os.closerange(3, 256)
            time.sleep(60)
        os.abort()


@register_task("process.raise")
class Raise(InProcess):
    def execute(self, context: TaskContext) -> None:
        raise {
            "KeyboardInterrupt": KeyboardInterrupt,
            "GeneratorExit": GeneratorExit,
            "ValueError": ValueError,
        }[context.task_input["what"]](*context.task_input.get("words", ()))


@register_task("process.return")
class Return(InProcess):
    def execute(self, context: TaskContext) -> Any:
        return unstorable(context.task_input["what"])


@register_task("process.hang")
class Hang(InProcess):
    """Writes its pid and that of a program it started to `path`, then hangs, `deaf` to every wish to end."""

    def execute(self, context: TaskContext) -> None:
        program = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
        path = Path(context.task_input["path"])
        path.with_suffix(".new").write_text(f"{os.getpid()} {program.pid}")
        path.with_suffix(".new").rename(path)
        while True:
            try:
                time.sleep(60)
            except SystemExit:
                if not context.task_input.get("deaf"):
                    path.with_suffix(".cancelled").write_text(str(context.is_cancelled))
                    raise


@register_task("process.fork")
class Fork(InProcess):
    """Forks, and ends while the fork lives on."""

    def execute(self, context: TaskContext) -> None:
        if os.fork() == 0:
            time.sleep(30)
        os._exit(9)


@register_task("process.log")
class Log(InProcess):
    def execute(self, context: TaskContext) -> None:
        context.logger.warning("%s is odd", "\ud800", extra={"shelf": 7})
        print("a line that is not a message")
        os.write(1, b"nor is this\n")


@register_task("process.babble")
class Babble(InProcess):
    """Writes what is no message to every descriptor it can find."""

    def execute(self, context: TaskContext) -> None:
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, bytes.fromhex(context.task_input["bytes"]))
            except OSError:
                continue
        time.sleep(60)


def make_hidden() -> type[TaskExecutor]:
    class Hidden(InProcess):
        def execute(self, context: TaskContext) -> None:
            return None

    return Hidden


class Unregistered(InProcess):
    """Registered by nobody here; its user registers it under a name of theirs."""

    def execute(self, context: TaskContext) -> dict[str, Any]:
        return {"pid": os.getpid()}


def unstorable(what: str) -> Any:
    """A result that no store can keep."""
    deep: Any = {}
    for _ in range(100_000 if what == "deep" else 0):
        deep = {"d": deep}
    values: dict[str, Any] = {
        "huge": lambda: {"text": "x" * (100 << 20)},
        "many": lambda: {str(number): number for number in range(1_000_000)},
        "deep": lambda: deep,
        "nul": lambda: {"a": {"text": "a\0b"}},
        "surrogate": lambda: {"a": {"text": "\ud800"}},
        "nan": lambda: {"a": [1.0, float("nan")]},
        "integer": lambda: {"a": 2**63},
        "bytes": lambda: {"a": b"abc"},
        "object": lambda: {"a": object()},
        "list": lambda: [1, 2, 3],
        "text": lambda: "done",
    }
    return values[what]()


UNSTORABLE = (
    ("huge", "limit.output_size", "#"),
    ("many", "task.output_invalid", "#"),
    ("deep", "task.output_invalid", "#" + "/d" * 64),
    ("nul", "task.output_invalid", "#/a/text"),
    ("surrogate", "task.output_invalid", "#/a/text"),
    ("nan", "task.output_invalid", "#/a/1"),
    ("integer", "task.output_invalid", "#/a"),
    ("bytes", "task.output_invalid", "#/a"),
    ("object", "task.output_invalid", "#/a"),
    ("list", "task.output_invalid", "#"),
    ("text", "task.output_invalid", "#"),
)
"""What is returned, the code of the failure, and the place that it names."""
