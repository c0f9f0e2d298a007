"""How large values can be: polynomials in the sizes of what an expression reads.

A size is in units: one for each character, and 16 for each number, text, list, map and name of a
member. What an expression reads is known only when it is evaluated, so until then a size is a sum
of terms: a coefficient, times the sizes of what is at some places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from math import prod
from typing import Any, Final

from flow_manager.core.cel.text import ExpressionFault

ITEM: Final = 16

_MOST_TERMS: Final = 64
_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_MOST_UNITS: Final = 1 << 24


class Mark(Enum):
    """Steps of a place that are no names: the largest item of a list, and the number of its items."""

    EACH = "each"
    COUNT = "count"


Place = tuple[str | Mark, ...]
"""Where something stands in a scope: `("input", "orders", EACH, "id")` is the largest id of an order."""

Size = dict[tuple[int, ...], float]
"""The factors of each term, and its coefficient. A factor that is not negative is the number of a
place, a negative one stands for the variable of a loop."""

SMALL: Final[Size] = {(): ITEM}


def added(sizes: Iterable[Size]) -> Size:
    total: Size = {}
    for size in sizes:
        for factors, coefficient in size.items():
            total[factors] = total.get(factors, 0) + coefficient
    return total


def scaled(size: Size, by: float) -> Size:
    return {factors: coefficient * by for factors, coefficient in size.items()}


def times(one: Size, other: Size) -> Size:
    """Raises `ExpressionFault` if the product is beyond what anybody would write."""
    if len(one) * len(other) > _MOST_TERMS:
        raise ExpressionFault("too-complex", "this expression puts too many things together", 0)
    return added(
        {tuple(sorted(factors + more)): coefficient * by}
        for factors, coefficient in one.items()
        for more, by in other.items()
    )


def parted(size: Size, factor: int) -> tuple[Size, Size]:
    """The terms with a factor, and those without it."""
    having = {factors: by for factors, by in size.items() if factor in factors}
    return having, {factors: by for factors, by in size.items() if factor not in factors}


def substituted(size: Size, factor: int, by: Size) -> Size:
    """The same with another size in place of a factor."""
    terms: list[Size] = []
    for factors, coefficient in size.items():
        term: Size = {tuple(each for each in factors if each != factor): coefficient}
        for _ in range(factors.count(factor)):
            term = times(term, by)
        terms.append(term)
    return added(terms)


def value_of(size: Size, units: Sequence[int]) -> float:
    """What a size comes to, given the units at each place."""
    return sum(by * prod((units[each] for each in factors), start=1.0) for factors, by in size.items())


def units_at(value: Any, place: Place) -> int:
    """The size of what is at a place, or of the last thing on the way to it; at least 1."""
    for position, step in enumerate(place):
        if step is Mark.COUNT:
            return len(value) if isinstance(value, list | Mapping) else 1
        if step is Mark.EACH:
            rest = place[position + 1 :]
            items = value if isinstance(value, list | Mapping) else ()
            return max((units_at(item, rest) for item in items), default=1)
        if not isinstance(value, Mapping):
            break
        value = value.get(step)
    return units_of(value)


def units_of(value: Any) -> int:
    total, waiting = 0, [value]
    while waiting and total < _MOST_UNITS:
        item = waiting.pop()
        total += ITEM
        kind = type(item)
        if kind is str:
            total += len(item)
        elif kind is list:
            waiting += item
        elif kind not in _NUMBERS and isinstance(item, Mapping):  # which is slow to ask
            total += sum(ITEM + len(name) for name in item if isinstance(name, str))
            waiting += item.values()
    return total
