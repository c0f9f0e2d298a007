"""JSON Schemas (2020-12) that a flow carries: of its input, of a task's output, of a form.

Who writes a flow writes its schemas, so one may be meant to cost time. A schema is refused unless its
cost is bounded: nothing is fetched, regular expressions run in linear time, and only so much is asked of
one place of a value. Where a value does not fit is found by asking yes or no, part by part: the library
copies the value into every error that it lists, and lists all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
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
"""Small schemas asked of one place of a value; each takes about 10 ns of every item of a list."""
MOST_PLACES: Final = 100_000
"""Kinds of places in a value, each times what is asked there: they are found in about 100 ms."""
MOST_PATTERNS: Final = 100
LONGEST_PATTERN: Final = 512
PATTERN_UNIT: Final = 4 << 10
"""Bytes of a compiled pattern that read a character in 0.7 us at worst; larger ones take longer."""
PATTERN_SIZES: Final = (1, 4, 16)
"""In units. Repetition is what is large: `.{1,255}` is 380 KB, and `maxLength` says the same."""
MOST_READ: Final = 256 << 10
"""Characters that patterns read in one value, each times the size of its pattern: about 0.3 s at worst."""
MOST_FILLED: Final = 1 << 20
"""Bytes of JSON that defaults may add to a value."""
MOST_FAULTS: Final = 100

_MOST_DETAIL: Final = 256
_SURELY_READ: Final = 4 << 10
"""Bytes of JSON that hold too little text to be worth a count."""
_SEARCHED: Final = 8
"""How often a large value may be looked at to find where it does not fit."""
_SURELY_SEARCHED: Final = 1 << 20
"""Bytes of JSON that are looked at for this in any case."""
_DEEPEST_SEARCH: Final = 150
_DOCUMENT: Final = "urn:flow-manager:schema"
_TYPES: Final = "a type is null, boolean, object, array, number, string or integer, or a list of these"
_UNSAFE: Final = (
    f"a pattern is a regular expression of at most {LONGEST_PATTERN} characters, without look-around and "
    f"back references, and of at most {PATTERN_SIZES[-1] * PATTERN_UNIT >> 10} KiB when compiled: for long "
    "repetitions, use maxLength"
)

_REFERENCES: Final = ("$ref", "$dynamicRef")
_SURE: Final = ("allOf", *_REFERENCES)
_CHOICES: Final = ("anyOf", "oneOf")
_SAME_PLACE: Final = (*_SURE, *_CHOICES, "not", "if", "then", "else", "dependentSchemas", "dependencies")
_OF_MEMBERS: Final = ("properties", "additionalProperties", "patternProperties", "unevaluatedProperties")
_OF_ITEMS: Final = ("prefixItems", "items", "contains", "unevaluatedItems")
"""First what one is asked by its name or number, then what the others are asked, then what all are."""
_UNEVALUATED: Final = {"unevaluatedProperties", "unevaluatedItems"}
_ASIDE: Final = {"$defs", "definitions", "contentSchema"}
_HOLDING: Final = {*_SAME_PLACE, *_OF_MEMBERS, *_OF_ITEMS, *_ASIDE, "propertyNames"} - {*_REFERENCES}
_BY_NAME: Final = {
    *("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"),
}
_SIMPLE: Final = {
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "multipleOf", "minimum"),
    *("maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems"),
    *("minProperties", "maxProperties", "dependentRequired"),
}
"""Keywords that mean the same without those beside them."""

_COST_OF_KEYWORD: Final = {"multipleOf": 20, "uniqueItems": 3, "pattern": 2}
_COST_OF_CHOICE: Final[dict[type, int]] = {int: 8, float: 20, list: 14, dict: 14}
"""Texts are looked up, and so are whole numbers among themselves; all else is compared one by one."""

_Step = str | int | type
"""From a value to a member or an item: its name or number, or `str` or `int` for all without a schema
of their own. `type` leads to the name of a member."""


class SchemaFault(NamedTuple):
    """Why a schema cannot be used. `path` leads to the place in the schema; `code` is kebab-case."""

    path: Path
    code: str
    detail: str


class Misfit(NamedTuple):
    """Where a value does not fit its schema. For a missing member, `path` is that of the object."""

    path: Path
    detail: str


class _Unusable(Exception):
    """Carries the fault that ends the reading of a schema."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(detail)
        self.fault = SchemaFault(path, "schema-too-complex", detail)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A schema within the schema, and the parts that each of its keywords holds or refers to."""

    path: Path
    schema: Any
    cost: int
    below: dict[str, dict[str | int, _Part]] = field(default_factory=dict)

    @property
    def holds_default(self) -> bool:
        return isinstance(self.schema, dict) and "default" in self.schema

    def get(self, keyword: str) -> Any:
        return self.schema.get(keyword) if isinstance(self.schema, dict) else None

    def held(self, *keywords: str) -> Iterator[_Part]:
        for keyword in keywords:
            yield from self.below.get(keyword, {}).values()

    def asks(self, step: _Step) -> list[_Part]:
        """What may be asked of a member or an item."""
        if step is type:
            return [*self.held("propertyNames")]
        one, others, *every = _OF_MEMBERS if step is str or isinstance(step, str) else _OF_ITEMS
        return [*self._by_step(step, one, others), *self.held(*every)]

    def demands(self, step: _Step) -> Iterable[_Part]:
        """What a member or an item must fit, as far as its name or number alone tells."""
        if step is int or isinstance(step, int):
            return self._by_step(step, "prefixItems", "items")
        is_known = "patternProperties" not in self.below
        return self._by_step(step, "properties", "additionalProperties" if is_known else "")

    def _by_step(self, step: _Step, one: str, others: str) -> Iterable[_Part]:
        known = self.below.get(one, {})
        return [known[step]] if not isinstance(step, type) and step in known else self.held(others)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A kind of place in a value: what is asked there and how often, and the places one step below."""

    asked: Counter[_Part]
    below: dict[_Step, _Place] = field(default_factory=dict)

    def at(self, step: str | int) -> _Place | None:
        return self.below.get(step) or self.below.get(type(step))


class _Places:
    """The kinds of places that a schema tells apart. Raises `_Unusable` if they cost too much.

    `keywords` hold what is asked at the same place, and `below` tells what is asked one step below.
    What is asked again is counted again, as far down as a value can be: there is no trust in the
    memory of the library, which has gaps.
    """

    def __init__(self, keywords: Iterable[str], below: Callable[[_Part, _Step], Iterable[_Part]]) -> None:
        self.known: dict[frozenset[tuple[_Part, int]], _Place] = {}
        self._keywords = tuple(keywords)
        self._below = below
        self._left = MOST_PLACES
        self._waiting: list[_Place] = []

    def start(self, part: _Part) -> _Place:
        """The place of a value that the part is asked of; all below it are found, too."""
        start = self._place(Counter([part]))
        while self._waiting:
            place = self._waiting.pop()
            for step in _steps(place.asked):
                self._count(len(place.asked))
                asked = Counter[_Part]()
                for each, times in place.asked.items():
                    asked.update(dict.fromkeys(self._below(each, step), times))
                if asked:
                    place.below[step] = self._place(asked)
        return start

    def parts(self) -> list[_Part]:
        """All that is asked anywhere."""
        return [*dict.fromkeys(part for place in self.known.values() for part in place.asked)]

    def _place(self, parts: Counter[_Part]) -> _Place:
        key = frozenset(parts.items())
        if key not in self.known:
            place = _Place(_asked_with(parts, self._keywords))
            self._count(len(place.asked))
            self.known[key] = place
            self._waiting.append(place)
        return self.known[key]

    def _count(self, asked: int) -> None:
        self._left -= asked
        if self._left < 0:
            raise _Unusable((), "what is asked of a value differs too much from place to place")


def _steps(parts: Iterable[_Part]) -> Iterable[_Step]:
    """The steps that make a difference to these parts."""
    numbered: list[dict[str | int, _Part]] = [part.below.get(_OF_ITEMS[0], {}) for part in parts]
    named: list[dict[str | int, _Part]] = [part.below.get(_OF_MEMBERS[0], {}) for part in parts]
    return dict.fromkeys([*(step for steps in named + numbered for step in steps), str, int, type])


def _asked_with(parts: Counter[_Part], keywords: Iterable[str]) -> Counter[_Part]:
    """The parts and what they hold by these keywords, each as often as it is asked."""
    asked = Counter[_Part]()
    waiting = list(parts.items())
    cost = 0
    for part, times in waiting:
        asked[part] += times
        cost += times * part.cost
        if cost > MOST_ASKED:
            detail = (
                f"more than is allowed is asked of one place of a value: about {MOST_ASKED} small schemas"
            )
            raise _Unusable(part.path, detail)
        # The unevaluated keywords ask again all that stands beside them.
        times *= 2 if part.below.keys() & _UNEVALUATED else 1
        waiting += [(each, times) for each in part.held(*keywords)]
    return asked


def _cost(schema: Any) -> int:
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


def _leading_to(wanted: Iterable[_Place], places: Iterable[_Place]) -> set[_Place]:
    """The places below which, or where, a wanted one is."""
    above: dict[_Place, list[_Place]] = {}
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

    def __init__(self) -> None:
        self.faults: list[SchemaFault] = []
        self.parts: list[_Part] = []
        self.sizes: dict[str, int] = {}
        """Of the patterns, in units."""
        self._targets: dict[str, _Part] = {}

    def read(self, document: Any) -> _Part:
        """The whole schema as a part; what is wrong with it is in `faults`. Raises `_Unusable`."""
        whole = self._read(document, (), 0)
        for part in self.parts:
            self._check_names(part)
            self._check_patterns(part)
        self._check_form(document)
        for part in self.parts:
            self._refer(part)
        return whole

    def _add(self, path: Path, code: str, detail: str) -> None:
        self.faults.append(SchemaFault(path, code, detail[:_MOST_DETAIL]))

    def _read(self, schema: Any, path: Path, depth: int) -> _Part:
        part = _Part(path, schema, _cost(schema))
        self.parts.append(part)
        self._targets["".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)] = part
        if depth > MOST_NESTED:
            raise _Unusable(path, f"schemas nest at most {MOST_NESTED} deep")
        if len(self.parts) > MOST_PARTS:
            raise _Unusable(path, f"a schema holds at most {MOST_PARTS} others")
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
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = part.get(keyword)
            if isinstance(anchor, str) and self._targets.setdefault(anchor, part) is not part:
                self._add((*part.path, keyword), "schema", "another schema has this anchor")

    def _check_patterns(self, part: _Part) -> None:
        patterns: dict[Any, Path] = {part.get("pattern"): (*part.path, "pattern")}
        for name in part.below.get("patternProperties", ()):
            patterns[name] = (*part.path, "patternProperties", name)
        for pattern, path in patterns.items():
            if not isinstance(pattern, str) or pattern in self.sizes:
                continue
            if len(self.sizes) >= MOST_PATTERNS:
                raise _Unusable(path, f"a schema has at most {MOST_PATTERNS} patterns")
            size = _size(pattern)
            self.sizes[pattern] = size or 0
            if size is None:
                self._add(path, "unsafe-regex", _UNSAFE)

    def _check_form(self, document: Any) -> None:
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
            target = self._targets.get(unquote(reference[1:]) if reference[1:2] == "/" else reference[1:])
            if not reference.startswith("#"):
                detail = "a reference starts with # and stays within the schema: nothing is fetched"
                self._add((*part.path, keyword), "external-ref", detail)
            elif target is None:
                self._add((*part.path, keyword), "schema", f"no schema is at {shown(reference)}")
            else:
                part.below[keyword] = {"": target}


def _written(schema: dict[str, Any], keyword: str) -> Iterator[tuple[str | int, Path, Any]]:
    """The schemas that a keyword holds, with the key and the path of each."""
    written = schema[keyword]
    is_one = not isinstance(written, list) and keyword not in _BY_NAME
    for key, each in [("", written)] if is_one else _inner(written):
        if isinstance(each, dict | bool):
            yield key, (keyword,) if is_one else (keyword, key), each


class Schema:
    """A schema that can be used, compiled. It never changes; any number of threads may use it.

    All formats that the library knows are asserted. `pattern` means "contains a match", as always.
    """

    def __init__(self, document: Any, whole: _Part, sizes: Mapping[str, int]) -> None:
        self._whole = whole
        self._patterns = _Patterns(whole, sizes)
        self._defaults = _Defaults(whole, self._patterns.places.parts())
        self._registry = jsonschema_rs.Registry([(_DOCUMENT, document)], draft=jsonschema_rs.Draft202012)
        self._validators: dict[tuple[_Part, str], jsonschema_rs.Validator] = {}
        """Made when first needed: a memory of what the schema implies, not a state."""
        self.fits(whole, None)

    @classmethod
    def compile(cls, schema: Any) -> Schema:
        """Raises `ValueError` for what `check_schema` finds fault with."""
        made, faults = _checked(schema)
        if made is None:
            raise ValueError(f"not a usable schema: {faults[0].detail} (at {pointer_to(faults[0].path)})")
        return made

    def with_defaults(self, value: Any) -> Any:
        """The value with the defaults of missing properties filled in, also within these.

        Only schemas that surely apply are read, not those of `anyOf`, `oneOf` and `if`. The given
        value is not changed; the parts of it that nothing is filled into are shared with it. Raises
        `TooLarge` if more than 1 MiB is filled in, or it nests more than 64 deep.
        """
        return _Filling(self._defaults).fill(value, self._whole)

    def misfits(self, value: Any, most: int = 100) -> list[Misfit]:
        """Where a plain value does not fit, the first `most` places; none if it fits.

        A value with more text than the patterns of the schema may read does not fit.
        """
        size = len(orjson.dumps(value))
        if size > _SURELY_READ and self._patterns.read_too_much(value):
            return [Misfit((), "this holds more text than the patterns of its schema may read")]
        if self.fits(self._whole, value):
            return []
        search = _Search(self, most, max(_SEARCHED * size, _SURELY_SEARCHED))
        search.look(value, (), [self._whole])
        return search.found

    def fits(self, part: _Part, value: Any) -> bool:
        key = (part, "")
        if key not in self._validators:
            reference = _DOCUMENT + pointer(*part.path)
            self._validators[key] = _compiled({"$ref": reference}, self._registry)
        return self._validators[key].is_valid(value)

    def fits_keyword(self, part: _Part, keyword: str, value: Any) -> bool:
        """Whether the value fits one of the simple keywords of a part."""
        key = (part, keyword)
        if key not in self._validators:
            self._validators[key] = _compiled({keyword: part.schema[keyword]})
        return self._validators[key].is_valid(value)

    def bad_defaults(self) -> Iterator[SchemaFault]:
        filling = _Filling(self._defaults)
        for part in self._defaults.holding:
            path = (*part.path, "default")
            try:
                if not self.fits(part, filling.fill(part.schema["default"], part)):
                    yield SchemaFault(path, "bad-default", "the default does not fit its own schema")
            except TooLarge as error:
                yield SchemaFault(path, "bad-default", str(error))
                return


def check_schema(schema: Any) -> list[SchemaFault]:
    """Why a JSON value cannot be used as a schema, at most 100 reasons; none if it can."""
    return _checked(schema)[1][:MOST_FAULTS]


def _checked(schema: Any) -> tuple[Schema | None, list[SchemaFault]]:
    """The schema compiled, or what is wrong with it."""
    try:
        text = orjson.dumps(schema) if is_plain(schema, MOST_BYTES) else b""
    except orjson.JSONEncodeError:
        text = b""
    if not 0 < len(text) <= MOST_BYTES:
        detail = f"a schema is plain JSON of at most {MOST_BYTES >> 10} KiB, nested {DEPTH} deep"
        return None, [SchemaFault((), "schema-too-complex", detail)]
    document = orjson.loads(text)
    reading = _Reading()
    try:
        whole = reading.read(document)
        if reading.faults:
            return None, reading.faults
        if isinstance(document, dict):
            document.pop("$id", None)  # as all references start with "#", it means nothing here
        made = Schema(document, whole, reading.sizes)
    except _Unusable as unusable:
        return None, [*reading.faults, unusable.fault]
    except jsonschema_rs.ValidationError as error:  # the library has the last word
        return None, [SchemaFault((), "schema", error.message[:_MOST_DETAIL])]
    faults = list(made.bad_defaults())
    return (None if faults else made), faults


class _Patterns:
    """Counts what the patterns of a schema have to read in a value."""

    def __init__(self, whole: _Part, sizes: Mapping[str, int]) -> None:
        self.places = _Places(_SAME_PLACE, _Part.asks)
        self._start = self.places.start(whole)
        self._of_texts: dict[_Place, int] = {}
        self._of_names: dict[_Place, int] = {}
        for place in self.places.known.values():
            for part, times in place.asked.items():
                named = sum(sizes[str(name)] for name in part.below.get("patternProperties", ()))
                self._of_names[place] = self._of_names.get(place, 0) + times * named
                self._of_texts[place] = self._of_texts.get(place, 0) + times * sizes.get(
                    part.get("pattern"), 0
                )
        reading = [place for place in self._of_texts if self._of_texts[place] or self._of_names[place]]
        self._leading = _leading_to(reading, self.places.known.values())

    def read_too_much(self, value: Any) -> bool:
        return self._left(value, self._start, MOST_READ) < 0

    def _left(self, value: Any, place: _Place | None, left: int) -> int:
        if place is None or place not in self._leading:
            return left
        if isinstance(value, str):
            return left - len(value) * self._of_texts[place]
        if isinstance(value, dict):
            names = place.below.get(type)
            of_names = self._of_names[place] + (self._of_texts[names] if names else 0)
            left -= of_names * sum(map(len, value)) if of_names else 0
        for step, member in _inner(value):
            left = self._left(member, place.at(step), left)
        return left


class _Defaults:
    """The defaults of a schema, as JSON, by the place of the object that they are filled into."""

    def __init__(self, whole: _Part, parts: Iterable[_Part]) -> None:
        places = _Places(_SURE, _Part.demands)
        self.holding = [part for part in parts if part.holds_default]
        self.starts = {part: places.start(part) for part in [whole, *self.holding]}
        self.at: dict[_Place, dict[str, bytes]] = {}
        for place in places.known.values() if self.holding else ():
            named = {step: below for step, below in place.below.items() if isinstance(step, str)}
            for step, below in named.items():
                held = [part.schema["default"] for part in below.asked if part.holds_default]
                if held:
                    self.at.setdefault(place, {})[step] = orjson.dumps({step: held[0]})
        self.leading = _leading_to(self.at, places.known.values())


class _Filling:
    """Fills defaults into values."""

    def __init__(self, defaults: _Defaults) -> None:
        self._defaults = defaults
        self._left = MOST_FILLED

    def fill(self, value: Any, part: _Part) -> Any:
        return self._fill(value, self._defaults.starts[part], 0)

    def _fill(self, value: Any, place: _Place | None, depth: int) -> Any:
        if place not in self._defaults.leading or not isinstance(value, dict | list):
            return value
        if depth >= DEPTH:
            raise TooLarge(f"with the defaults of its schema, the value nests more than {DEPTH} deep")
        filled: Any = value.copy()
        for name, text in self._defaults.at.get(place, {}).items() if isinstance(value, dict) else ():
            if name not in value:
                self._left -= len(text)
                if self._left < 0:
                    raise TooLarge(f"the defaults of the schema add more than {MOST_FILLED >> 20} MiB")
                filled |= orjson.loads(text)
        for step, member in _inner(filled):
            filled[step] = self._fill(member, place.at(step), depth + 1)
        return filled


class _Search:
    """Looks for the misfits of one value, until it has found enough or looked at enough."""

    def __init__(self, schema: Schema, most: int, most_bytes: int) -> None:
        self.found: list[Misfit] = []
        self._schema = schema
        self._most = most
        self._left = most_bytes

    def look(self, value: Any, at: Path, parts: Iterable[_Part], depth: int = 0) -> None:
        """Look within a value that does not fit all of `parts`."""
        before = len(self.found)
        sure = [*_asked_with(Counter(parts), _SURE)]
        for part in sure:
            self._look_at(part, value, at)
            for other in self._chosen(part, value) if depth < _DEEPEST_SEARCH else ():
                if not self._fits(other, value):
                    self.look(value, at, [other], depth + 1)
        for step, member in _inner(value) if depth < _DEEPEST_SEARCH else ():
            if len(self.found) >= self._most or self._left < 0:
                break
            demanded = [each for part in sure for each in part.demands(step)]
            if any(each.schema is False and each.path[-1] == "additionalProperties" for each in demanded):
                self._add((*at, step), _unknown(str(step), sure))
            elif not all(self._fits(each, member) for each in demanded):
                self.look(member, (*at, step), demanded, depth + 1)
        if len(self.found) == before:
            keywords = {keyword for part in sure for keyword in part.below} - _ASIDE - {*_SURE}
            self._add(at, f"this does not fit what the schema says with {', '.join(sorted(keywords))}")

    def _fits(self, part: _Part, value: Any) -> bool:
        self._left -= len(orjson.dumps(value))
        return self._schema.fits(part, value)

    def _add(self, at: Path, detail: str) -> None:
        if len(self.found) < self._most:
            self.found.append(Misfit(at, detail[:_MOST_DETAIL]))

    def _look_at(self, part: _Part, value: Any, at: Path) -> None:
        if part.schema is False:
            self._add(at, "nothing is allowed here")
        for keyword in part.schema if isinstance(part.schema, dict) else ():
            wanted = part.schema[keyword]
            if keyword in _SIMPLE and not self._schema.fits_keyword(part, keyword, value):
                self._add(at, f"this does not fit {keyword} {orjson.dumps(wanted).decode()}")
        for name in part.get("required") or () if isinstance(value, dict) else ():
            if name not in value:
                self._add(at, f"the member {shown(name)} is missing")

    def _chosen(self, part: _Part, value: Any) -> Iterator[_Part]:
        """What a value must fit because of what it is."""
        for condition in part.held("if"):
            yield from part.held("then" if self._fits(condition, value) else "else")
        for name, each in part.below.get("dependentSchemas", {}).items():
            if isinstance(value, dict) and name in value:
                yield each
        for keyword in _CHOICES:
            likely = [each for each in part.held(keyword) if self._may_be(each, value)]
            if len(likely) == 1:
                yield likely[0]

    def _may_be(self, part: _Part, value: Any) -> bool:
        """Whether the value is of the type that the part asks for, if it asks for one."""
        typed = [each for each in _asked_with(Counter([part]), _SURE) if each.get("type") is not None]
        return all(self._schema.fits_keyword(each, "type", value) for each in typed)


def _unknown(name: str, parts: Iterable[_Part]) -> str:
    known = [str(each) for part in parts for each in part.below.get("properties", ())]
    like = nearest(name, known)
    return f"there is no member {shown(name)} here" + (f"; did you mean {shown(like)}?" if like else "")
