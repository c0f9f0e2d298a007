from __future__ import annotations

from typing import Any

import pytest

from flow_manager.errors import TaskRegistrationError
from flow_manager.tasks.builtin.command import CommandTask
from flow_manager.tasks.builtin.http import HttpTask
from flow_manager.tasks.builtin.http_input import HttpDocument
from flow_manager.tasks.builtin.registration import BuiltinSettings, register_builtin_tasks
from flow_manager.tasks.registry import TaskRegistry


def shop(context: Any) -> None: ...


def body_of(registry: TaskRegistry, name: str) -> Any:
    """The object whose method is the body of an attempt."""
    body: Any = registry[name].new_body()
    return body.__self__


def registered(settings: BuiltinSettings) -> TaskRegistry:
    registry = TaskRegistry()
    register_builtin_tasks(registry, settings)
    return registry


def test_http_is_registered_and_told_of() -> None:
    registry = registered(BuiltinSettings())

    assert list(registry) == ["http"]
    assert registry.input_models()["http"] is HttpDocument
    described = registry["http"].describe()
    assert (described.runs, described.description) == ("async", "Calls a web service over HTTP.")
    assert described.origin == "flow_manager.tasks.builtin.http:HttpTask"


def test_command_is_registered_only_if_programs_are_allowed() -> None:
    registry = registered(
        BuiltinSettings(commands=("/bin/sh",), command_variables=("TZ", "SIZE"), most_output=100)
    )

    assert list(registry) == ["http", "command"]
    body = body_of(registry, "command")
    assert (dict(body.programs), body.most_output) == ({"sh": "/bin/sh"}, 100)
    assert body.variables == {"TZ", "SIZE"}
    assert (dict(CommandTask.programs), HttpTask.client) != (dict(body.programs), body_of(registry, "http"))


def test_the_settings_that_come_last_hold() -> None:
    registry = registered(BuiltinSettings(commands=("/bin/sh",)))
    first = body_of(registry, "http").client

    register_builtin_tasks(registry, BuiltinSettings())

    assert body_of(registry, "http").client is not first
    assert dict(body_of(registry, "command").programs) == {}


def test_a_task_of_somebody_else_does_not_take_a_name_that_is_built_in() -> None:
    before, after = TaskRegistry(), registered(BuiltinSettings())
    before.register("http", shop)

    with pytest.raises(
        TaskRegistrationError, match=r"'http' is a built-in task type; give .*:shop in .* another"
    ):
        register_builtin_tasks(before, BuiltinSettings())
    with pytest.raises(TaskRegistrationError, match=r"'http' is registered already, by flow_manager\.tasks"):
        after.register("http", shop)


def test_a_task_called_command_is_fine_while_no_programs_are_allowed() -> None:
    registry = TaskRegistry()
    registry.register("command", shop)

    register_builtin_tasks(registry, BuiltinSettings())

    assert registry["command"].source.name == "shop"
    with pytest.raises(TaskRegistrationError, match="'command' is a built-in task type"):
        register_builtin_tasks(registry, BuiltinSettings(commands=("/bin/sh",)))


@pytest.mark.parametrize(
    "settings",
    [
        BuiltinSettings(http_allow=("a b",)),
        BuiltinSettings(commands=("sh",)),
        BuiltinSettings(command_variables=("A=B",)),
    ],
)
def test_settings_that_cannot_be_read_are_refused(settings: BuiltinSettings) -> None:
    with pytest.raises(ValueError, match="is none"):
        registered(settings)
