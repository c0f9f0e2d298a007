"""Finding tasks: modules that are named, and packages that announce theirs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from flow_manager.errors import TaskRegistrationError

ENTRY_POINTS = "flow_manager.tasks"
"""The entry point group: each entry names a module whose import registers tasks."""


def import_task_modules(modules: Sequence[str]) -> None:
    """Import each module, so that its `@register_task` lines run, and every announced one.

    A named module may lie in the current folder, however this program was started, but for `python -P`.
    Raises `TaskRegistrationError` naming the module that cannot be imported, with the cause kept.
    """
    if modules:
        _look_in_the_current_folder()
    for module in modules:
        _import(module, "named as a task module")
    for entry in entry_points(group=ENTRY_POINTS):
        _import(entry.module, f"announced by an installed package as {entry.name!r} in {ENTRY_POINTS}")


def _look_in_the_current_folder() -> None:
    """In the last place, so that no file there stands in for a module that is installed."""
    here = os.getcwd()
    if not sys.flags.safe_path and here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _import(module: str, why: str) -> None:
    try:
        importlib.import_module(module)
    except TaskRegistrationError:
        raise
    except (Exception, SystemExit) as error:  # a module is a stranger's code and may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise TaskRegistrationError(f"cannot import {module!r} ({why}): {reason}{_advice(module)}") from error


def _advice(module: str) -> str:
    if not module.endswith(".py"):
        return ""
    return f"; name the module and not its file: {module.removesuffix('.py').replace(os.sep, '.')}"
