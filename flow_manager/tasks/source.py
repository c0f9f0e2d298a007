"""Where the code of a task is, so that another process can find it again."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import msgspec

MAIN: Final = "__main__"
MAIN_IN_A_CHILD: Final = "__mp_main__"
"""What the main file is called where it is run again; `multiprocessing` uses the same name."""


class Source(msgspec.Struct, frozen=True):
    """The module that defines a task, its qualified name there, and the module's file if it has one."""

    module: str
    name: str
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"

    @property
    def can_be_found_again(self) -> bool:
        """Whether another process can import it: not what was typed into an interactive session."""
        return self.module != MAIN or self.file is not None

    def is_the_same_code_as(self, other: Source) -> bool:
        """Whether both are one definition, under whatever names its file was imported."""
        return self.file is not None and self.file == other.file and self.name == other.name

    def import_module(self) -> ModuleType:
        """Import the module, or run the main file again. Raises whatever its code raises."""
        if self.module != MAIN:
            return importlib.import_module(self.module)
        if MAIN_IN_A_CHILD in sys.modules:
            return sys.modules[MAIN_IN_A_CHILD]
        return _run_main_file(str(self.file))

    def find(self) -> Any:
        """The task itself. Raises what `import_module` raises, and `AttributeError`."""
        found: Any = self.import_module()
        for step in self.name.split("."):
            found = getattr(found, step)
        return found


def source_of(task: Callable[..., Any]) -> Source:
    module = sys.modules.get(task.__module__)
    file = getattr(module, "__file__", None)
    real = os.path.realpath(file) if file and os.path.isfile(file) else None
    return Source(_importable_name(task.__module__, module), task.__qualname__, real)


def _importable_name(name: str, module: ModuleType | None) -> str:
    """A main module that was named on the command line (`python -m name`) has a name of its own."""
    spec = getattr(module, "__spec__", None)
    return spec.name if name == MAIN and spec is not None else name


def _run_main_file(path: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(MAIN_IN_A_CHILD, path)
    spec = importlib.util.spec_from_file_location(MAIN_IN_A_CHILD, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN_IN_A_CHILD] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[MAIN_IN_A_CHILD]
        raise
    return module
