"""The task type `command`: one run of a program that the operator allows."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ValidationError

from flow_manager.core.plain import shown
from flow_manager.core.results import TaskExecutionResult
from flow_manager.tasks.builtin.command_input import CommandInput
from flow_manager.tasks.builtin.failures import AttemptFailed, bad_input
from flow_manager.tasks.builtin.program_run import STDERR, STDOUT, OutputTooLarge, ProgramRun
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor

MOST_OUTPUT: Final = 256 << 10
"""Bytes that a program may write to its standard output, and as many to its standard error."""
MOST_EXCERPT: Final = 2000
"""Characters at the end of the standard error that an error keeps."""

ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
"""What a program finds in its environment besides what the author gives it: nothing of the service's."""

_NOT_FOUND: Final = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC})


class CommandTask(TaskExecutor):
    """Runs a program that is allowed, without a shell."""

    input_model: ClassVar[type[BaseModel] | None] = CommandInput
    checks_its_input: ClassVar[bool] = True
    programs: ClassVar[Mapping[str, str]] = MappingProxyType({})
    variables: ClassVar[Set[str]] = frozenset()
    """What a flow may set in the environment of a program."""
    most_output: ClassVar[int] = MOST_OUTPUT

    async def execute(self, context: TaskContext) -> TaskExecutionResult | dict[str, Any]:
        try:
            command = CommandInput.model_validate(context.task_input)
        except ValidationError as error:
            return bad_input("command.bad_input", error).result()
        try:
            return await self._run(command)
        except AttemptFailed as failure:
            return failure.result()

    async def _run(self, command: CommandInput) -> dict[str, Any]:
        name = shown(command.program)
        path = self.programs.get(command.program)
        if path is None:
            detail = f"the program {name} is not among those that FLOW_MANAGER_COMMANDS allows"
            raise AttemptFailed("command.not_allowed", detail, retryable=False)
        refused = sorted(command.environment.keys() - self.variables)
        if refused:
            names = shown(", ".join(refused))
            detail = f"FLOW_MANAGER_COMMAND_VARIABLES does not allow a flow to set {names}"
            raise AttemptFailed("command.not_allowed", detail, retryable=False)
        run = ProgramRun(self.most_output)
        try:
            code = await run.run(
                [path, *command.arguments], command.stdin.encode(), {**ENVIRONMENT, **command.environment}
            )
        except OutputTooLarge:
            detail = f"the program {name} was killed: it wrote more than {self.most_output} bytes"
            raise AttemptFailed("command.too_large", detail, retryable=False) from None
        except OSError as error:
            raise _not_started(name, error) from error
        stdout, stderr = _text(run.output[STDOUT]), _text(run.output[STDERR])
        if code not in command.expect_exit:
            details = {"exit_code": code, "stderr": stderr[-MOST_EXCERPT:]}
            raise AttemptFailed("command.exit", f"the program {name} {_ended(code)}", details=details)
        return {"exit_code": code, "stdout": stdout, "stderr": stderr}


def _not_started(name: str, error: OSError) -> AttemptFailed:
    reason = error.strerror or str(error)
    if error.errno in _NOT_FOUND:
        detail = f"the program {name} is allowed, but cannot be run here: {reason}"
        return AttemptFailed("command.not_found", detail, retryable=False)
    is_retryable = error.errno != errno.E2BIG
    detail = f"the program {name} could not be started: {reason}"
    return AttemptFailed("command.not_started", detail, retryable=is_retryable)


def _ended(code: int) -> str:
    return f"exited with {code}" if code >= 0 else f"was ended by signal {-code}"


def _text(output: bytes | bytearray) -> str:
    """What is not UTF-8, and NUL, which cannot be stored, becomes the replacement character."""
    return output.decode("utf-8", "replace").replace("\0", "\ufffd")


def command_task(
    programs: Mapping[str, str], variables: Set[str] = frozenset(), most_output: int = MOST_OUTPUT
) -> type[CommandTask]:
    """The task that runs these programs, by name, and lets a flow set these variables; no others."""

    class Configured(CommandTask):
        __doc__ = CommandTask.__doc__
        __qualname__ = CommandTask.__qualname__

    Configured.programs = programs
    Configured.variables = variables
    Configured.most_output = most_output
    return Configured
