"""How much work an expression can be, and the fuel that stops it.

The library bounds the number of iterations, but not what one of them costs: lists and texts can be
doubled again and again, `map` and `filter` copy the list so far for every item, and meanwhile the
interpreter stands still. So the work is bounded from above beforehand, and loops burn fuel.

Work is in nanoseconds, an upper bound of what was measured. Its price depends on the sizes of
values, so it is a polynomial like them until the expression is evaluated (see `core.cel.sizes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flow_manager.core.cel.functions import FUNCTIONS, called
from flow_manager.core.cel.patterns import matching_cost, readying_cost
from flow_manager.core.cel.sizes import (
    ITEM,
    SMALL,
    Mark,
    Place,
    Size,
    added,
    parted,
    scaled,
    substituted,
    times,
    units_at,
    value_of,
)
from flow_manager.core.cel.text import ExpressionFault
from flow_manager.core.cel.tree import Call, Group, Literal, Member, Node, Path, loop_of, parts_of

BUDGET: Final = 50_000_000
"""Work of one evaluation: 50 ms."""
MOST_LOOPS: Final = 16

_STEP: Final = 1_000
"""To begin an iteration."""
_NODE: Final = 250
"""For each name, operator and call."""
_COPY: Final = 80
"""For each item that a list already has, to append one more."""
_COMPARING: Final = 4
_ADDING: Final = 6
_TAKING: Final = 6
"""To make the result a value of Python, and then JSON."""
_SEARCH: Final = 0.015
"""For each character of a text and each of the part that is searched in it."""
_SEARCHING: Final = frozenset({"contains", "indexOf", "lastIndexOf", "replace", "split"})
_LIGHT: Final = 200
"""Work for each unit of what is read, up to which an expression is light: no value in a scope is much
larger than 256 KiB."""
_FORMATTED: Final = 700
"""Characters, at most, that one of a format makes of a number: `%.1000f` has six."""


@dataclass(frozen=True, slots=True)
class Loop:
    """`inner` are the numbers of the loops within its body. `each` is the work of an iteration that
    depends on sizes, `fixed` the rest."""

    name: str
    bodies: tuple[Node, ...]
    inner: range
    each: Size
    fixed: float


@dataclass(frozen=True, slots=True)
class Effort:
    """The work of an expression, outside of its loops and in them. One that `is_light` can do without
    fuel: it is at most `least`, and `for_each_unit` of what is read."""

    places: tuple[Place, ...]
    once: Size
    fixed: float
    loops: tuple[Loop, ...]
    least: float
    for_each_unit: float
    is_light: bool

    def fuel(self, scope: Mapping[str, Any]) -> Fuel:
        """What one evaluation may burn, less what it needs in any case."""
        units = [units_at(scope, place) for place in self.places]
        each = [loop.fixed + value_of(loop.each, units) for loop in self.loops]
        return Fuel(BUDGET - self.fixed - value_of(self.once, units), each, self.loops)


class Fuel:
    """What is left of the budget of one evaluation."""

    def __init__(self, left: float, each: list[float], loops: tuple[Loop, ...]) -> None:
        self._left = left
        self._each = each
        self._loops = loops
        self._lengths = [0] * len(loops)

    @property
    def loops(self) -> int:
        return len(self._loops)

    @property
    def is_spent(self) -> bool:
        return not self._left >= 0

    @property
    def burnt(self) -> float:
        return BUDGET - self._left

    def step(self, number: int) -> bool:
        """An iteration of a loop begins. False skips it."""
        for inner in self._loops[number].inner:
            self._lengths[inner] = 0
        self._left -= self._each[number]
        return self._left >= 0

    def keep(self, number: int) -> bool:
        """A loop appends an item to its list. False leaves it out."""
        self._left -= _COPY * self._lengths[number]
        self._lengths[number] += 1
        return self._left >= 0


def effort_of(source: str, tree: Node) -> Effort:
    """Raises `ExpressionFault` for what is too much work whatever it is given."""
    estimate = _Estimate(source)
    estimate.charge(_TAKING, estimate.size(tree, {}))
    once = estimate.resolved(estimate.work)
    least = once.get((), 0) + estimate.fixed
    if not least <= BUDGET:
        raise ExpressionFault("too-complex", "the values of this expression grow too large", tree.start)
    is_linear = all(len(factors) <= 1 for factors in once)
    for_each_unit = sum(once.values()) - once.get((), 0)
    is_light = not estimate.loops and is_linear and for_each_unit <= _LIGHT
    places, loops = tuple(estimate.places), tuple(estimate.loops)
    return Effort(places, once, estimate.fixed, loops, least, for_each_unit, is_light)


@dataclass(frozen=True, slots=True)
class _Variable:
    """The variable of a loop: the number of that loop, and where in the scope its items stand."""

    loop: int
    items: Place | None


_Variables = Mapping[str, _Variable]


class _Estimate:
    """Goes through the nodes of an expression."""

    def __init__(self, source: str) -> None:
        self.loops: list[Loop] = []
        self.places: dict[Place, int] = {}
        self.work: Size = {}
        self.fixed: float = 0
        self._source = source
        self._ranges: list[Size] = []
        self._inmost = -1
        """The loop whose body is looked at."""

    def size(self, node: Node, variables: _Variables) -> Size:
        """How large the value of a node can be. Adds the work of making it."""
        self.fixed += _NODE
        if isinstance(node, Literal):
            return {(): ITEM + node.end - node.start}
        if isinstance(node, Path):
            return self._read(node, variables)
        if isinstance(node, Call):
            looped = self._looped(node, variables)
            return self._called(node, variables) if looped is None else looped
        sizes = [self.size(part, variables) for part in parts_of(node)]
        return sizes[0] if isinstance(node, Member) else self._grouped(node, added(sizes))

    def resolved(self, size: Size) -> Size:
        """The same without variables: one is at most as large as all that its loop goes through."""
        for number in reversed(range(len(self._ranges))):
            size = substituted(size, _factor(number), self._ranges[number])
        return size

    def _read(self, path: Path, variables: _Variables) -> Size:
        """Of the variable of the innermost loop all items together will count, of others the largest."""
        variable = variables.get(path.root)
        if variable is not None and (variable.loop == self._inmost or variable.items is None):
            return {(_factor(variable.loop),): 1}
        return self._at(_place(path, variables) or ())

    def _at(self, place: Place) -> Size:
        return {(self.places.setdefault(place, len(self.places)),): 1}

    def _grouped(self, node: Group, total: Size) -> Size:
        if node.kind == "(":
            return total
        # Of `a + b + c` the library copies `a` twice.
        self.charge(max(_COMPARING, _ADDING * node.operators.count("+")), total)
        if node.kind in ("[", "{"):
            return added([total, SMALL])
        return total if "+" in node.operators or "?" in node.operators else SMALL

    def _called(self, node: Call, variables: _Variables) -> Size:
        before = node.receiver
        name = called(before.root if isinstance(before, Path) and not before.steps else None, node.name)
        sizes = [self.size(part, variables) for part in (node.arguments if "." in name else parts_of(node))]
        if name not in FUNCTIONS:
            return SMALL
        if name == "matches":
            pattern = self._source[node.arguments[-1].start : node.end]
            self.fixed += readying_cost(pattern)
            self.charge(matching_cost(pattern), sizes[0])
        if name in _SEARCHING and len(sizes) > 1:
            self.charge(_SEARCH, times(sizes[0], sizes[1]))
        given, made = added(sizes), _made(name, node, sizes)
        self.charge(FUNCTIONS[name].cost, added([given, made]))
        return made

    def _looped(self, node: Call, variables: _Variables) -> Size | None:
        loop = loop_of(node)
        if loop is None:
            return None
        through, variable, bodies = loop
        whole = self.size(through, variables)
        number = len(self._ranges)
        if number == MOST_LOOPS:
            detail = f"an expression has at most {MOST_LOOPS} loops"
            raise ExpressionFault("too-complex", detail, node.at)
        self._ranges.append(whole)
        self.loops.append(Loop(node.name, bodies, range(0), {}, 0))
        place = _place(through, variables)
        items = None if place is None else (*place, Mark.EACH)
        outside = self.work, self.fixed, self._inmost
        self.work, self.fixed, self._inmost = {}, 0, number
        within = {**variables, variable: _Variable(number, items)}
        made = [self.size(body, within) for body in bodies][-1]
        if node.name == "map":
            self.charge(_COMPARING, made)
        # The items together are as large as the whole, so work on them is counted once for all.
        on_items, each = parted(self.work, _factor(number))
        inner = range(number + 1, len(self._ranges))
        self.loops[number] = Loop(node.name, bodies, inner, self.resolved(each), _STEP + self.fixed)
        self.work, self.fixed, self._inmost = outside
        self.charge(1, substituted(on_items, _factor(number), whole))
        if node.name == "filter":
            return whole
        if node.name != "map":
            return SMALL
        count = scaled(whole, 1 / ITEM) if place is None else self._at((*place, Mark.COUNT))
        of_items, others = parted(made, _factor(number))
        return added([substituted(of_items, _factor(number), whole), times(others, count)])

    def charge(self, cost: float, size: Size) -> None:
        self.work = added([self.work, scaled(size, cost)])


def _place(node: Node, variables: _Variables) -> Place | None:
    """Where in the scope a list stands, or the one that it was filtered from."""
    if isinstance(node, Group) and node.kind == "(":
        return _place(node.parts[0], variables)
    if isinstance(node, Call) and node.name == "filter" and node.receiver is not None:
        return _place(node.receiver, variables)
    if not isinstance(node, Path):
        return None
    if node.root not in variables:
        return (node.root, *node.steps)
    items = variables[node.root].items
    return None if items is None else (*items, *node.steps)


def _factor(loop: int) -> int:
    return -1 - loop


def _made(name: str, node: Call, sizes: list[Size]) -> Size:
    """How large the result of a function can be."""
    growth = FUNCTIONS[name].growth
    if name == "replace" and len(sizes) >= 3:
        places = scaled(sizes[0], 1 / _length(node.arguments[0]))
        return added([sizes[0], times(places, _put_in(node.arguments[1], sizes[2]))])
    if name == "join" and len(sizes) == 2:
        return added([sizes[0], times(scaled(sizes[0], 1 / ITEM), _put_in(node.arguments[0], sizes[1]))])
    if name == "format" and len(sizes) == 2:
        return added([scaled(sizes[0], _FORMATTED), scaled(sizes[1], growth)])
    return scaled(sizes[0], growth) if growth and sizes else SMALL


def _put_in(text: Node, size: Size) -> Size:
    """How much longer a text gets where this one is put in."""
    return {(): max(1, text.end - text.start - 2)} if isinstance(text, Literal) else size


def _length(text: Node) -> int:
    """The least length of what is replaced. What is empty is found before every character."""
    return max(1, len(text.text or "")) if isinstance(text, Literal) else 1
