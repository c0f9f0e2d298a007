"""Finding tasks: modules that are named, and packages that announce theirs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points

from flow_manager.errors import TaskRegistrationError

ENTRY_POINTS = "flow_manager.tasks"
"""The entry point group: each entry names a module whose import registers tasks."""


def import_task_modules(modules: Sequence[str]) -> None:
    """Import each module, so that its `@register_task` lines run, and every announced one.

    Raises `TaskRegistrationError` naming the module that cannot be imported, with the cause kept.
    """
    for module in modules:
        _import(module, "named as a task module")
    for entry in entry_points(group=ENTRY_POINTS):
        _import(entry.module, f"announced by an installed package as {entry.name!r} in {ENTRY_POINTS}")


def _import(module: str, why: str) -> None:
    try:
        importlib.import_module(module)
    except TaskRegistrationError:
        raise
    except (Exception, SystemExit) as error:  # a module is a stranger's code and may raise anything
        raise TaskRegistrationError(
            f"cannot import {module!r} ({why}): {type(error).__name__}: {error}"
        ) from error
