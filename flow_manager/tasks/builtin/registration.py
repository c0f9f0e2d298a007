"""Registering the built-in task types, as the settings of a service have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flow_manager.errors import TaskRegistrationError
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.command import MOST_OUTPUT, command_task
from flow_manager.tasks.builtin.http import HttpClient, http_task
from flow_manager.tasks.builtin.http_input import MOST_RESPONSE
from flow_manager.tasks.builtin.programs import parse_programs
from flow_manager.tasks.builtin.variables import parse_variables
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.registry import TaskRegistry
from flow_manager.tasks.source import source_of

HTTP: Final = "http"
COMMAND: Final = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinSettings:
    """What an operator decides about the built-in tasks."""

    http_allow: tuple[str, ...] = ()
    """Entries of an `AllowList`: what is internal and may be called nevertheless."""
    commands: tuple[str, ...] = ()
    """Entries as `parse_programs` reads them. Without any there is no task type `command`."""
    command_variables: tuple[str, ...] = ()
    """Entries as `parse_variables` reads them: what flows may set in the environment of a program."""
    most_response: int = MOST_RESPONSE
    most_output: int = MOST_OUTPUT


def register_builtin_tasks(registry: TaskRegistry, settings: BuiltinSettings) -> None:
    """Register `http` and, if programs are allowed, `command`.

    Services of one process may share a registry; the settings that come last hold. Raises
    `TaskRegistrationError` if a task of somebody else has one of the names, and `ValueError` for
    settings that cannot be read.
    """
    client = HttpClient(AllowList.parse(settings.http_allow), most_response=settings.most_response)
    _register(registry, HTTP, http_task(client))
    variables = parse_variables(settings.command_variables)
    command = command_task(parse_programs(settings.commands), variables, settings.most_output)
    if settings.commands or _is_ours(registry, COMMAND, command):
        _register(registry, COMMAND, command)


def _register(registry: TaskRegistry, name: str, task: type[TaskExecutor]) -> None:
    if name in registry and not _is_ours(registry, name, task):
        taken = registry[name].source
        place = "" if taken.file is None else f" in {taken.file}"
        raise TaskRegistrationError(f"{name!r} is a built-in task type; give {taken}{place} another name")
    # To the registry, code of its own is the same definition, run again.
    registry.register_for(register_builtin_tasks.__code__.replace(), name, task)


def _is_ours(registry: TaskRegistry, name: str, task: type[TaskExecutor]) -> bool:
    return name in registry and registry[name].source == source_of(task)
