"""Evaluations: how the value of an expression is found in a scope.

A path alone is looked up. The library would convert all that it leads to, there and back, and lose
the order of members. Everything else is calculated by the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from flow_manager.core.cel.allowance import Allowance
from flow_manager.core.cel.answers import time_text
from flow_manager.core.cel.edits import loop_edits
from flow_manager.core.cel.effort import Effort, Fuel
from flow_manager.core.cel.library import Exhausted, Failure, Program, kind_of_name
from flow_manager.core.cel.sizes import units_of
from flow_manager.core.cel.uses import STARTED_AT_NAME, Uses

_Wanted = dict[str, "_Wanted | None"]
"""Members by name, with those that are wanted of each; None wants all."""

_SCALARS: Final = frozenset({bool, int, float, datetime, type(None)})
_SHORT: Final = 200
"""Characters of a text that costs no more than a number, whatever is done with it."""
_CALL: Final = 8_000
"""To call the library at all, in nanoseconds."""
_LOOKING: Final = 2_000
"""To look up a path."""
_HANDING: Final = 35
"""To measure a list or map and to hand it to the library, for each unit of it. Texts cost next to nothing."""

_KINDS: Final = {bool: "bool", float: "double", int: "int", str: "string", list: "list", type(None): "null"}


class Evaluation(Protocol):
    """`kind` is the type of the value as far as it is known beforehand, `dyn` if it is not."""

    @property
    def kind(self) -> str: ...

    @property
    def keeps_order(self) -> bool:
        """Whether the members of maps come in the order in which they were given."""
        ...

    def of(self, scope: Mapping[str, Any], allowance: Allowance | None) -> tuple[str, Any]:
        """The type of the value, and the value. Draws the work from the allowance.
        Raises `Failure` and `Exhausted`."""
        ...


class Lookup:
    """Finds what is at a path."""

    keeps_order = True

    def __init__(self, path: tuple[str, ...]) -> None:
        self._path = path

    @property
    def kind(self) -> str:
        return kind_of_name(self._path[0]) if len(self._path) == 1 else "dyn"

    def of(self, scope: Mapping[str, Any], allowance: Allowance | None) -> tuple[str, Any]:
        if allowance is not None:
            allowance.left -= _LOOKING
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
        self._least = _CALL + effort.least + effort.for_each_unit * _SHORT

    @property
    def kind(self) -> str:
        return self._program.kind

    def of(self, scope: Mapping[str, Any], allowance: Allowance | None) -> tuple[str, Any]:
        fuel = None if self._effort.is_light else self._effort.fuel(scope)
        if fuel is not None and fuel.is_spent:
            raise Exhausted
        large: list[Any] = []
        seen = self._seen(scope, large)
        answer = self._program.evaluate(seen, fuel)
        if allowance is not None:
            allowance.left -= self._work(large, fuel) if large or fuel is not None else self._least
        return answer

    def _work(self, large: list[Any], fuel: Fuel | None) -> float:
        """What an evaluation has cost. If it burnt no fuel, it is linear in the size of what is large."""
        texts = handed = 0
        for value in large:
            if type(value) is str:
                texts += len(value)
            else:
                handed += units_of(value)
        done = (
            self._least + self._effort.for_each_unit * (texts + handed)
            if fuel is None
            else _CALL + fuel.burnt
        )
        return done + _HANDING * handed

    def _seen(self, scope: Mapping[str, Any], large: list[Any]) -> dict[str, Any]:
        """The part of the scope that is read: the library converts all that it is given."""
        seen: dict[str, Any] = _narrowed(scope, self._wanted, large)
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


def _narrowed(value: Any, wanted: _Wanted | None, large: list[Any]) -> Any:
    """What is wanted of a value. What of it may cost much to handle is added to `large`."""
    kind = type(value)
    if kind in _SCALARS or (kind is str and len(value) <= _SHORT):
        return value
    if wanted is not None and (kind is dict or isinstance(value, Mapping)):
        return {name: _narrowed(value[name], below, large) for name, below in wanted.items() if name in value}
    whole = dict(value) if kind is not dict and isinstance(value, Mapping) else value
    large.append(whole)
    return whole


def _without_times(execution: Any) -> Any:
    """An execution whose start is a text: among the members of a map the library takes no times."""
    if "started_at" in execution:
        execution = {**execution, "started_at": time_text(execution["started_at"])}
    return {name: _narrowed(member, None, []) for name, member in execution.items()}
