"""The parts of a schema, and the kinds of places that they tell apart in a value.

This is what its cost is counted with: nothing is asked of a value that was not counted before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from flow_manager.core.plain import Path

MOST_ASKED: Final = 100
"""Small schemas asked of one place of a value; each takes about 10 ns of every item of a list."""
MOST_PLACES: Final = 100_000
"""Kinds of places in a value, each times what is asked there: they are found in about 100 ms."""
REFERENCES: Final = ("$ref", "$dynamicRef")
SURE: Final = ("allOf", *REFERENCES)
CHOICES: Final = ("anyOf", "oneOf")
SAME_PLACE: Final = (*SURE, *CHOICES, "not", "if", "then", "else", "dependentSchemas", "dependencies")
OF_MEMBERS: Final = ("properties", "additionalProperties", "patternProperties", "unevaluatedProperties")
OF_ITEMS: Final = ("prefixItems", "items", "contains", "unevaluatedItems")
"""First what one is asked by its name or number, then what the others are asked, then what all are."""
_UNEVALUATED: Final = {"unevaluatedProperties", "unevaluatedItems"}
_COST_OF_KEYWORD: Final = {"multipleOf": 20, "uniqueItems": 3, "pattern": 2}
_COST_OF_CHOICE: Final[dict[type, int]] = {int: 8, float: 20, list: 14, dict: 14}
"""Texts are looked up, and so are whole numbers among themselves; all else is compared one by one."""
Step = str | int | type
"""From a value to a member or an item: its name or number, or `str` or `int` for all without a schema
of their own. `type` leads to the name of a member."""


class SchemaFault(NamedTuple):
    """Why a schema cannot be used. `path` leads to the place in the schema; `code` is kebab-case."""

    path: Path
    code: str
    detail: str


class Unusable(Exception):
    """Carries the fault that ends the reading of a schema."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(detail)
        self.fault = SchemaFault(path, "schema-too-complex", detail)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A schema within the schema, and the parts that each of its keywords holds or refers to."""

    path: Path
    schema: Any
    cost: int
    below: dict[str, dict[str | int, Part]] = field(default_factory=dict)

    @property
    def holds_default(self) -> bool:
        return isinstance(self.schema, dict) and "default" in self.schema

    def get(self, keyword: str) -> Any:
        return self.schema.get(keyword) if isinstance(self.schema, dict) else None

    def held(self, *keywords: str) -> Iterator[Part]:
        for keyword in keywords:
            yield from self.below.get(keyword, {}).values()

    def asks(self, step: Step) -> list[Part]:
        """What may be asked of a member or an item."""
        if step is type:
            return [*self.held("propertyNames")]
        one, others, *every = OF_MEMBERS if step is str or isinstance(step, str) else OF_ITEMS
        return [*self._by_step(step, one, others), *self.held(*every)]

    def demands(self, step: Step) -> Iterable[Part]:
        """What a member or an item must fit, as far as its name or number alone tells."""
        if step is int or isinstance(step, int):
            return self._by_step(step, "prefixItems", "items")
        is_known = "patternProperties" not in self.below
        return self._by_step(step, "properties", "additionalProperties" if is_known else "")

    def _by_step(self, step: Step, one: str, others: str) -> Iterable[Part]:
        known = self.below.get(one, {})
        return [known[step]] if not isinstance(step, type) and step in known else self.held(others)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A kind of place in a value: what is asked there and how often, and the places one step below."""

    asked: Counter[Part]
    below: dict[Step, Place] = field(default_factory=dict)

    def at(self, step: str | int) -> Place | None:
        return self.below.get(step) or self.below.get(type(step))


class Places:
    """The kinds of places that a schema tells apart. Raises `Unusable` if they cost too much.

    `keywords` hold what is asked at the same place, and `below` tells what is asked one step below.
    What is asked again is counted again, as far down as a value can be: there is no trust in the
    memory of the library, which has gaps.
    """

    def __init__(self, keywords: Iterable[str], below: Callable[[Part, Step], Iterable[Part]]) -> None:
        self.known: dict[frozenset[tuple[Part, int]], Place] = {}
        self._keywords = tuple(keywords)
        self._below = below
        self._left = MOST_PLACES
        self._waiting: list[Place] = []

    def start(self, part: Part) -> Place:
        """The place of a value that the part is asked of; all below it are found, too."""
        start = self._place(Counter([part]))
        while self._waiting:
            place = self._waiting.pop()
            for step in _steps(place.asked):
                self._count(len(place.asked))
                asked = Counter[Part]()
                for each, times in place.asked.items():
                    asked.update(dict.fromkeys(self._below(each, step), times))
                if asked:
                    place.below[step] = self._place(asked)
        return start

    def parts(self) -> list[Part]:
        """All that is asked anywhere."""
        return [*dict.fromkeys(part for place in self.known.values() for part in place.asked)]

    def _place(self, parts: Counter[Part]) -> Place:
        key = frozenset(parts.items())
        if key not in self.known:
            place = Place(asked_with(parts, self._keywords))
            self._count(len(place.asked))
            self.known[key] = place
            self._waiting.append(place)
        return self.known[key]

    def _count(self, asked: int) -> None:
        self._left -= asked
        if self._left < 0:
            raise Unusable((), "what is asked of a value differs too much from place to place")


def _steps(parts: Iterable[Part]) -> Iterable[Step]:
    """The steps that make a difference to these parts."""
    numbered: list[dict[str | int, Part]] = [part.below.get(OF_ITEMS[0], {}) for part in parts]
    named: list[dict[str | int, Part]] = [part.below.get(OF_MEMBERS[0], {}) for part in parts]
    return dict.fromkeys([*(step for steps in named + numbered for step in steps), str, int, type])


def asked_with(parts: Counter[Part], keywords: Iterable[str]) -> Counter[Part]:
    """The parts and what they hold by these keywords, each as often as it is asked."""
    asked = Counter[Part]()
    waiting = list(parts.items())
    cost = 0
    for part, times in waiting:
        asked[part] += times
        cost += times * part.cost
        if cost > MOST_ASKED:
            detail = (
                f"more than is allowed is asked of one place of a value: about {MOST_ASKED} small schemas"
            )
            raise Unusable(part.path, detail)
        # The unevaluated keywords ask again all that stands beside them.
        times *= 2 if part.below.keys() & _UNEVALUATED else 1
        waiting += [(each, times) for each in part.held(*keywords)]
    return asked


def cost_of(schema: Any) -> int:
    """How many of the cheap keywords take about as long as this schema without those within it."""
    if not isinstance(schema, dict):
        return 1
    choices = schema["enum"] if isinstance(schema.get("enum"), list) else []
    kinds = {type(choice) for choice in choices}
    is_slow = kinds & _COST_OF_CHOICE.keys() and (kinds != {int} or len(choices) == 1)
    return (
        1
        + sum(cost for keyword, cost in _COST_OF_KEYWORD.items() if keyword in schema)
        + _COST_OF_CHOICE.get(type(schema.get("const")), 0)
        + (sum(_COST_OF_CHOICE.get(type(choice), 1) for choice in choices) if is_slow else 0)
    )


def leading_to(wanted: Iterable[Place], places: Iterable[Place]) -> set[Place]:
    """The places below which, or where, a wanted one is."""
    above: dict[Place, list[Place]] = {}
    for place in places:
        for below in place.below.values():
            above.setdefault(below, []).append(place)
    found = list(wanted)
    known = set(found)
    for place in found:
        new = set(above.get(place, ())) - known
        known |= new
        found += new
    return known


def inner(value: Any) -> Iterable[tuple[str | int, Any]]:
    """The members of an object, or the items of a list."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()
