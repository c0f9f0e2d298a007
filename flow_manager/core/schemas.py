"""JSON Schemas (2020-12) that a flow carries: of its input, of a task's output, of a form.

Who writes a flow writes its schemas, so one may be meant to cost time. A schema is refused unless its
cost is bounded: nothing is fetched, regular expressions run in linear time, and only so much is asked of
one place of a value. Where a value does not fit is found by asking yes or no, part by part: the library
copies the value into every error that it lists, and lists all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import jsonschema_rs
import orjson

from flow_manager.core.plain import DEPTH, Path, is_plain, pointer_to, shown
from flow_manager.core.problems import nearest, pointer
from flow_manager.errors import TooLarge

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOST_BYTES: Final = 64 << 10
MOST_PARTS: Final = 2000
MOST_NESTED: Final = 32
MOST_ASKED: Final = 100
"""Schemas asked of one place of a value; each takes about 10 ns of every item of a list."""
MOST_STEPS: Final = 200_000
"""For finding out what is asked where: about 100 ms."""
MOST_PATTERNS: Final = 100
LONGEST_PATTERN: Final = 512
PATTERN_UNIT: Final = 4 << 10
"""Bytes of a compiled pattern that read a character in 0.7 us at worst; larger ones take longer."""
PATTERN_SIZES: Final = (1, 4, 16)
"""In units. Repetition is what is large: `.{1,255}` is 380 KB, and `maxLength` says the same."""
MOST_READ: Final = 512 << 10
"""Characters that patterns read in one value, each times the size of its pattern: about 0.5 s at worst."""
MOST_FILLED: Final = 1 << 20
"""Bytes of JSON that defaults may add to a value."""
MOST_FAULTS: Final = 100

_MOST_DETAIL: Final = 256
_SURELY_READ: Final = 4 << 10
"""Bytes of JSON that hold too little text to be worth a count."""
_SURELY_SEARCHED: Final = 1 << 20
"""Bytes of JSON that are looked at to find misfits; of a large value, four times its own."""
_DEEPEST_SEARCH: Final = 150
_DOCUMENT: Final = "urn:flow-manager:schema"
_TYPES: Final = "a type is null, boolean, object, array, number, string or integer, or a list of these"
_UNSAFE: Final = (
    f"a pattern is a regular expression of at most {LONGEST_PATTERN} characters, without look-around and back "
    f"references, and of at most {PATTERN_SIZES[-1] * PATTERN_UNIT >> 10} KiB when compiled: for long "
    "repetitions, use maxLength"
)

_REFERENCES: Final = ("$ref", "$dynamicRef")
_SURE: Final = ("allOf", *_REFERENCES)
_CHOICES: Final = ("anyOf", "oneOf")
_SAME_PLACE: Final = (*_SURE, *_CHOICES, "not", "if", "then", "else", "dependentSchemas", "dependencies")
_MEMBERS: Final = ("properties", "patternProperties", "additionalProperties", "unevaluatedProperties")
_ITEMS: Final = ("prefixItems", "items", "contains", "unevaluatedItems")
_UNEVALUATED: Final = (_MEMBERS[-1], _ITEMS[-1])
_ASIDE: Final = ("$defs", "definitions", "contentSchema")
_BY_NAME: Final = (*_MEMBERS[:2], *_ASIDE[:2], "dependentSchemas", "dependencies")
_HOLDING: Final = {*_SAME_PLACE, *_MEMBERS, *_ITEMS, *_ASIDE, "propertyNames"} - {*_REFERENCES}
_SIMPLE: Final = (
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "multipleOf", "minimum"),
    *("maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems"),
    *("minProperties", "maxProperties", "dependentRequired"),
)
"""Keywords that mean the same without those beside them."""


class SchemaFault(NamedTuple):
    """Why a schema cannot be used. `path` leads to the place in the schema; `code` is kebab-case."""

    path: Path
    code: str
    detail: str


class Misfit(NamedTuple):
    """Where a value does not fit its schema. For a missing member, `path` is that of the object."""

    path: Path
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A schema within the schema, and the parts that each of its keywords holds or refers to."""

    path: Path
    schema: Any
    below: dict[str, dict[str | int, _Part]] = field(default_factory=dict)

    def get(self, keyword: str) -> Any:
        return self.schema.get(keyword) if isinstance(self.schema, dict) else None

    def held(self, *keywords: str) -> Iterator[_Part]:
        for keyword in keywords:
            yield from self.below.get(keyword, {}).values()

    def asked_of(self, step: str | int | None) -> list[_Part]:
        """What may be asked of a member, an item, or (None) the name of a member."""
        if step is None:
            return [*self.held("propertyNames")]
        one, others, *every = _MEMBERS[::2] + _MEMBERS[1::2] if isinstance(step, str) else _ITEMS
        known = self.below.get(one, {})
        return [*([known[step]] if step in known else self.held(others)), *self.held(*every)]

    def demanded_of(self, step: str | int) -> Iterable[_Part]:
        """What a member or an item must fit, as far as its name or number alone tells."""
        known = self.below.get("properties" if isinstance(step, str) else "prefixItems", {})
        if step in known:
            return [known[step]]
        if isinstance(step, int):
            return self.held("items")
        return () if "patternProperties" in self.below else self.held("additionalProperties")


def _with(parts: Iterable[_Part], *keywords: str) -> list[_Part]:
    """The parts, those that they hold by these keywords, and so on."""
    found = list(dict.fromkeys(parts))
    known = set(found)
    for part in found:
        new = [each for each in part.held(*keywords) if each not in known]
        known.update(new)
        found += new
    return found


def _inner(value: Any) -> Iterable[tuple[str | int, Any]]:
    """The members of an object, or the items of a list."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _compiled(
    schema: Any, registry: jsonschema_rs.Registry | None = None, pattern_size: int = PATTERN_SIZES[-1]
) -> jsonschema_rs.Validator:
    size_limit = pattern_size * PATTERN_UNIT
    return jsonschema_rs.Draft202012Validator(
        schema,
        validate_formats=True,
        offline=True,
        mask="this",
        registry=registry,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=size_limit, dfa_size_limit=256 << 10),
    )


def _size(pattern: str) -> int | None:
    """The size of a pattern in units, rounded up; None if it cannot be used."""
    for size in PATTERN_SIZES if len(pattern) <= LONGEST_PATTERN else ():
        try:
            _compiled({"pattern": pattern}, pattern_size=size)
        except jsonschema_rs.ValidationError:
            continue
        return size
    return None


_META: Final = _compiled({"$ref": DIALECT})


class _Reading:
    """Reads a schema into its parts, and finds what is wrong with it."""

    def __init__(self, document: Any) -> None:
        self.faults: list[SchemaFault] = []
        self.parts: list[_Part] = []
        self.sizes: dict[str, int] = {}
        """Of the patterns, in units."""
        self._targets: dict[str, _Part] = {}
        self.root = self._read(document, (), 0)
        for part in self.parts:
            self._check_names(part)
            self._check_patterns(part)
        self._check_form(document)
        for part in self.parts:
            self._refer(part)
        self.reached = self._reach()

    def _add(self, path: Path, code: str, detail: str) -> None:
        self.faults.append(SchemaFault(path, code, detail[:_MOST_DETAIL]))

    def _refuse(self, path: Path, detail: str) -> None:
        """The first reason why this costs too much: others mostly follow from it."""
        if all(fault.code != "schema-too-complex" for fault in self.faults):
            self._add(path, "schema-too-complex", detail)

    def _read(self, schema: Any, path: Path, depth: int) -> _Part:
        part = _Part(path, schema)
        self.parts.append(part)
        self._targets["".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)] = part
        if depth > MOST_NESTED:
            self._refuse(path, f"schemas nest at most {MOST_NESTED} deep")
            return part
        for keyword in schema if isinstance(schema, dict) else ():
            if keyword in _HOLDING:
                below = part.below[keyword] = {}
                for key, steps, each in _written(schema, keyword):
                    below[key] = self._read(each, (*path, *steps), depth + 1)
        return part

    def _check_names(self, part: _Part) -> None:
        dialect = part.get("$schema")
        if isinstance(dialect, str) and dialect.rstrip("#") != DIALECT:
            self._add((*part.path, "$schema"), "unsupported-schema", f"the only dialect is {DIALECT}")
        if part.path and part.get("$id") is not None:
            self._add((*part.path, "$id"), "external-ref", "only the whole schema has an $id; use $anchor")
        for anchor in (part.get("$anchor"), part.get("$dynamicAnchor")):
            if isinstance(anchor, str):
                self._targets.setdefault(anchor, part)

    def _check_patterns(self, part: _Part) -> None:
        named = [("patternProperties", str(name)) for name in part.below.get("patternProperties", ())]
        for *steps, pattern in [*named, ("pattern", part.get("pattern"))]:
            if not isinstance(pattern, str) or pattern in self.sizes:
                continue
            path = (*part.path, *steps, pattern) if pattern in named else (*part.path, "pattern")
            size = _size(pattern) if len(self.sizes) < MOST_PATTERNS else 0
            self.sizes[pattern] = size or 0
            if size is None:
                self._add(path, "unsafe-regex", _UNSAFE)
            elif size == 0:
                self._refuse(path, f"a schema has at most {MOST_PATTERNS} patterns")

    def _check_form(self, document: Any) -> None:
        if len(self.parts) > MOST_PARTS:
            self._refuse((), f"a schema holds at most {MOST_PARTS} others; here are {len(self.parts)}")
        told = {fault.path for fault in self.faults}
        for error in _META.iter_errors(document):
            path = tuple(error.instance_path)
            if path not in told:
                told.add(path)
                is_type = path[-1:] == ("type",) and error.kind.name == "anyOf"
                self._add(path, "schema", _TYPES if is_type else error.message)

    def _refer(self, part: _Part) -> None:
        for keyword in _REFERENCES:
            reference = part.get(keyword)
            if not isinstance(reference, str):
                continue
            target = self._targets.get(unquote(reference[1:]))
            if not reference.startswith("#"):
                detail = "a reference starts with # and stays within the schema: nothing is fetched"
                self._add((*part.path, keyword), "external-ref", detail)
            elif target is None:
                self._add((*part.path, keyword), "schema", f"no schema is at {shown(reference)}")
            else:
                part.below[keyword] = {"": target}

    def _reach(self) -> set[_Part]:
        """Go to every kind of place that a value can have, and count what is asked there.

        This trusts in no memory of the library: a schema within itself passes if what is asked does
        not grow with the depth of the value.
        """
        reached, known, steps = {self.root}, set[frozenset[tuple[_Part, int]]](), 0
        waiting = [Counter([self.root])]
        while waiting and steps < MOST_STEPS:
            parts = waiting.pop()
            asked = _all_asked(parts)
            reached |= asked.keys()
            if sum(_weight(part) * times for part, times in asked.items()) > MOST_ASKED:
                detail = f"more than {MOST_ASKED} schemas are asked of one place of a value"
                self._refuse(next(iter(parts)).path, detail)
                break
            for step in _steps(asked):
                steps += len(asked)
                below = Counter[_Part]()
                for part, times in asked.items():
                    below.update(dict.fromkeys(part.asked_of(step), times))
                place = frozenset(below.items())
                if place not in known:
                    known.add(place)
                    waiting.append(below)
        if steps >= MOST_STEPS:
            self._refuse((), "what is asked of a value differs too much from place to place")
        return reached


def _written(schema: dict[str, Any], keyword: str) -> Iterator[tuple[str | int, Path, Any]]:
    """The schemas that a keyword holds, with the key and the path of each."""
    written = schema[keyword]
    if isinstance(written, list) or keyword in _BY_NAME:
        held = [(key, (keyword, key), each) for key, each in _inner(written)]
    ...


def _steps(parts: Iterable[_Part]) -> Iterable[str | int | None]:
    """The names and numbers that make a difference to these parts, and one of each for the rest."""
    names = [str(name) for part in parts for name in part.below.get("properties", ())]
    most = max(len(part.below.get("prefixItems", ())) for part in parts)
    return dict.fromkeys([*names, max(names, key=len, default="") + ".", *range(most + 1), None])


def _all_asked(parts: Counter[_Part]) -> Counter[_Part]:
    """The parts and all that is asked where they are, each as often as it is; cut off beyond the most."""
    asked = Counter[_Part]()
    waiting = list(parts.items())
    while waiting and asked.total() <= MOST_ASKED:
        part, times = waiting.pop()
        asked[part] += times
        # The unevaluated keywords ask again all that stands beside them.
        times *= 2 if part.below.keys() & {*_UNEVALUATED} else 1
        waiting += [(each, times) for each in part.held(*_SAME_PLACE)]
    return asked
