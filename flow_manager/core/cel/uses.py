"""What an expression uses: names, members, results, secrets. Whatever it may not use is a fault."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from flow_manager.core.cel.edits import Edit
from flow_manager.core.cel.functions import FUNCTIONS, GETTERS, HAS, LOOPS, NAMESPACES, TYPES, called
from flow_manager.core.cel.patterns import check_pattern, check_zone, readying_cost
from flow_manager.core.cel.text import ExpressionFault
from flow_manager.core.cel.tree import Call, Literal, Member, Node, Path, loop_of, parts_of
from flow_manager.core.plain import shown
from flow_manager.core.problems import nearest

ONLY_IN_CONDITIONS: Final = frozenset({"result", "outcome"})
SECRETS: Final = "secrets"
STARTED_AT: Final = ("execution", "started_at")
STARTED_AT_NAME: Final = "flow_manager_started_at"
_TRIAL: Final = 80_000
"""Work of each trial, beyond that of its pattern."""


class Trial(NamedTuple):
    """A small expression that fails for a pattern or a time zone that does not exist. `work` is in
    nanoseconds."""

    text: str
    offset: int
    work: int


@dataclass(frozen=True, slots=True)
class Uses:
    """`paths` are the names and members that are read. `edits` put another name in place of the time
    that an execution started at."""

    paths: frozenset[tuple[str, ...]]
    tested: frozenset[tuple[str, ...]]
    edits: tuple[Edit, ...]
    trials: tuple[Trial, ...]

    @property
    def results(self) -> frozenset[str]:
        """Tasks whose results are read or tested."""
        return frozenset(path[1] for path in self.paths if path[0] == "results" and len(path) > 1)

    @property
    def results_guarded(self) -> frozenset[str]:
        """Those of them that are tested for being there at all."""
        return frozenset(path[1] for path in self.tested if path[0] == "results" and len(path) == 2)

    @property
    def results_unknown(self) -> bool:
        """Whether it cannot be said which results are read."""
        return ("results",) in self.paths

    @property
    def secrets(self) -> frozenset[str]:
        return frozenset(path[1] for path in self.paths if path[0] == SECRETS)


def uses_of(source: str, tree: Node, names: Collection[str]) -> Uses:
    """Raises `ExpressionFault`. `names` are those in scope."""
    reader = _Reader(source, names)
    reader.read(tree, frozenset())
    return Uses(
        frozenset((path.root, *path.steps) for path in reader.paths),
        frozenset((path.root, *path.steps) for path in reader.paths if path.is_tested),
        tuple(_time_edits(reader.paths)),
        tuple(reader.trials),
    )


class _Reader:
    def __init__(self, source: str, names: Collection[str]) -> None:
        self.paths: list[Path] = []
        self.trials: list[Trial] = []
        self._source = source
        self._names = names

    def read(self, node: Node, variables: frozenset[str]) -> None:
        if isinstance(node, Path):
            self._read_path(node, variables)
        elif isinstance(node, Call):
            self._read_call(node, variables)
        else:
            for part in parts_of(node):
                self.read(part, variables)

    def _read_path(self, path: Path, variables: frozenset[str]) -> None:
        if path.root in variables or (path.root in TYPES and not path.steps):
            return
        if path.root not in self._names:
            raise self._unknown_name(path, variables)
        if path.root == SECRETS and not path.steps:
            detail = "a secret is named where it is used, as in secrets.token"
            raise ExpressionFault("secret-not-allowed-here", detail, path.start)
        self.paths.append(path)

    def _unknown_name(self, path: Path, variables: frozenset[str]) -> ExpressionFault:
        if path.root == SECRETS:
            detail = "secrets can be used in the input of a task only"
            return ExpressionFault("secret-not-allowed-here", detail, path.start)
        if path.root in ONLY_IN_CONDITIONS:
            detail = f"{path.root!r} is known in the 'when' of a condition only"
            hint = 'the result of a task is results.<task>, or results["<task>"]'
            return ExpressionFault("unknown-name", detail, path.start, hint)
        known = [*self._names, *sorted(variables)]
        meant = nearest(path.root, known)
        hint = f"known are {', '.join(known)}" if meant is None else f"did you mean {meant!r}?"
        detail = f"there is no name {shown(path.root)} here"
        return ExpressionFault("unknown-name", detail, path.start, hint)

    def _read_call(self, call: Call, variables: frozenset[str]) -> None:
        loop = loop_of(call)
        if loop is not None:
            through, variable, bodies = loop
            if variable in {*self._names, *TYPES, *NAMESPACES, STARTED_AT_NAME}:
                detail = f"the variable {variable!r} would hide what is called so already"
                raise ExpressionFault("forbidden-name", detail, call.arguments[0].start)
            self.read(through, variables)
            for body in bodies:
                self.read(body, variables | {variable})
            return
        if call.name in LOOPS:
            detail = f"{call.name!r} is written {LOOPS[call.name]}"
            raise ExpressionFault("syntax", detail, call.at)
        if call.name == HAS:
            self._check_has(call)
        for part in self._given(call, variables):
            self.read(part, variables)

    def _check_has(self, call: Call) -> None:
        is_member = len(call.arguments) == 1 and (
            (isinstance(tested := call.arguments[0], Path) and bool(tested.steps))
            or (isinstance(tested, Member) and tested.name is not None)
        )
        written = self._source[call.arguments[0].start : call.arguments[0].end] if call.arguments else ""
        if call.receiver is not None or not is_member or written.endswith("]"):
            detail = "'has' takes one member, as in has(input.region)"
            hint = 'for a name that is no word, write "a-b" in input'
            raise ExpressionFault("syntax", detail, call.at, hint)

    def _given(self, call: Call, variables: frozenset[str]) -> tuple[Node, ...]:
        """What a function is given, its receiver included."""
        before = call.receiver
        is_plain = isinstance(before, Path) and not before.steps and before.root not in variables
        name = called(before.root if isinstance(before, Path) and is_plain else None, call.name)
        if name not in FUNCTIONS and name != HAS:
            meant = nearest(name, [*FUNCTIONS, *LOOPS, HAS])
            hint = None if meant is None else f"did you mean {meant!r}?"
            raise ExpressionFault("unknown-function", f"there is no function {shown(name)}", call.at, hint)
        if name == "matches":
            self._check_pattern(call)
        if name in GETTERS and call.arguments:
            self._check_zone(call, call.arguments[0])
        return call.arguments if "." in name else tuple(parts_of(call))

    def _check_pattern(self, call: Call) -> None:
        pattern = call.arguments[-1] if call.arguments else None
        if not isinstance(pattern, Literal):
            detail = "the pattern of 'matches' is a text that is written out"
            raise ExpressionFault("wrong-type", detail, call.at)
        check_pattern(self._source, pattern)
        written = self._source[pattern.start : pattern.end]
        self.trials.append(Trial(f'"".matches({written})', pattern.start, readying_cost(written) + _TRIAL))

    def _check_zone(self, call: Call, zone: Node) -> None:
        if not isinstance(zone, Literal):
            detail = f"the time zone of {call.name!r} is a text that is written out"
            raise ExpressionFault("wrong-type", detail, call.at)
        check_zone(zone)
        self.trials.append(Trial(f'timestamp(0).{call.name}("{zone.text}")', zone.start, _TRIAL))


def _time_edits(paths: list[Path]) -> Iterator[Edit]:
    for path in paths:
        if (path.root, *path.steps[:1]) == STARTED_AT and not (path.is_tested and len(path.steps) == 1):
            yield Edit(path.start, path.ends[0], STARTED_AT_NAME)
