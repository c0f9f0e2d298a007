"""Evaluations: how the value of an expression is found in a scope.

A path alone is looked up. The library would convert all that it leads to, there and back, and lose
the order of members. Everything else is calculated by the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from flow_manager.core.cel.answers import time_text
from flow_manager.core.cel.edits import loop_edits
from flow_manager.core.cel.effort import Effort
from flow_manager.core.cel.library import Exhausted, Failure, Program, kind_of_name
from flow_manager.core.cel.uses import STARTED_AT_NAME, Uses

_Wanted = dict[str, "_Wanted | None"]
"""Members by name, with those that are wanted of each; None wants all."""

_KINDS: Final = {bool: "bool", float: "double", int: "int", str: "string", list: "list", type(None): "null"}


class Evaluation(Protocol):
    """`kind` is the type of the value as far as it is known beforehand, `dyn` if it is not."""

    @property
    def kind(self) -> str: ...

    @property
    def keeps_order(self) -> bool:
        """Whether the members of maps come in the order in which they were given."""
        ...

    def of(self, scope: Mapping[str, Any]) -> tuple[str, Any]:
        """The type of the value, and the value. Raises `Failure` and `Exhausted`."""
        ...


class Lookup:
    """Finds what is at a path."""

    keeps_order = True

    def __init__(self, path: tuple[str, ...]) -> None:
        self._path = path

    @property
    def kind(self) -> str:
        return kind_of_name(self._path[0]) if len(self._path) == 1 else "dyn"

    def of(self, scope: Mapping[str, Any]) -> tuple[str, Any]:
        value: Any = scope
        for step in self._path:
            if not isinstance(value, Mapping):
                raise Failure("Applying SELECT")
            if step not in value:
                raise Failure(f'Key not found in map : "{step}"')
            value = value[step]
        return _KINDS.get(type(value), "map"), value


class Calculation:
    """Has the library calculate, within the budget of one evaluation."""

    keeps_order = False

    def __init__(self, source: str, uses: Uses, effort: Effort) -> None:
        """Raises `ExpressionFault`."""
        self._program = Program(source, [*uses.edits, *loop_edits(effort.loops)])
        self._effort = effort
        self._wanted = _wanted(uses.paths)
        self._reads_start = bool(uses.edits)

    @property
    def kind(self) -> str:
        return self._program.kind

    def of(self, scope: Mapping[str, Any]) -> tuple[str, Any]:
        fuel = None if self._effort.is_light else self._effort.fuel(scope)
        if fuel is not None and fuel.is_spent:
            raise Exhausted
        return self._program.evaluate(self._seen(scope), fuel)

    def _seen(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the scope that is read: the library converts all that it is given."""
        seen: dict[str, Any] = _narrowed(scope, self._wanted)
        if "execution" in seen:
            seen["execution"] = _without_times(seen["execution"])
        if self._reads_start:
            seen[STARTED_AT_NAME] = scope["execution"]["started_at"]
        return seen


def _wanted(paths: Iterable[tuple[str, ...]]) -> _Wanted:
    """What the paths name, as a tree. The shorter of two paths wants all that is below it."""
    wanted: _Wanted = {}
    for path in sorted(paths, key=len):
        within: _Wanted | None = wanted
        for step in path[:-1]:
            within = within.setdefault(step, {}) if within is not None else None
        if within is not None:
            within.setdefault(path[-1], None)
    return wanted


def _narrowed(value: Any, wanted: _Wanted | None) -> Any:
    if type(value) is not dict and not isinstance(value, Mapping):
        return value
    if wanted is None:
        return value if type(value) is dict else dict(value)
    return {name: _narrowed(value[name], below) for name, below in wanted.items() if name in value}


def _without_times(execution: Any) -> Any:
    """An execution whose start is a text: among the members of a map the library takes no times."""
    if "started_at" in execution:
        execution = {**execution, "started_at": time_text(execution["started_at"])}
    return {name: _narrowed(member, None) for name, member in execution.items()}
