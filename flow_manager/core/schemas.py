"""JSON Schemas (2020-12) that a flow carries: of its input, of a task's output, of a form.

Who writes a flow writes its schemas, so one may be meant to cost time. A schema is refused unless its
cost is bounded: nothing is fetched, regular expressions run in linear time, and only so much is asked of
one place of a value. Where a value does not fit is found by asking yes or no, part by part: the library
copies the value into every error that it lists, and lists all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import jsonschema_rs
import orjson

from flow_manager.core.plain import DEPTH, Path, is_plain, pointer_to, shown
from flow_manager.core.problems import nearest, pointer
from flow_manager.core.schema_parts import (
    CHOICES,
    SURE,
    Part,
    Place,
    Places,
    SchemaFault,
    Unusable,
    asked_with,
    inner,
    leading_to,
)
from flow_manager.core.schema_reading import ASIDE, MOST_DETAIL, Patterns, Reading, compiled
from flow_manager.errors import TooLarge

MOST_BYTES: Final = 64 << 10
MOST_FILLED: Final = 1 << 20
"""Bytes of JSON that defaults may add to a value."""
MOST_FAULTS: Final = 100
_SURELY_READ: Final = 4 << 10
"""Bytes of JSON that hold too little text to be worth a count."""
_SEARCHED: Final = 8
"""How often a large value may be looked at to find where it does not fit."""
_SURELY_SEARCHED: Final = 1 << 20
"""Bytes of JSON that are looked at for this in any case."""
_DEEPEST_SEARCH: Final = 150
_DOCUMENT: Final = "urn:flow-manager:schema"
_SIMPLE: Final = {
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "multipleOf", "minimum"),
    *("maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems"),
    *("minProperties", "maxProperties", "dependentRequired"),
}
"""Keywords that mean the same without those beside them."""


class Misfit(NamedTuple):
    """Where a value does not fit its schema. For a missing member, `path` is that of the object."""

    path: Path
    detail: str


def check_schema(schema: Any) -> list[SchemaFault]:
    """Why a JSON value cannot be used as a schema, at most 100 reasons; none if it can."""
    return _checked(schema)[1][:MOST_FAULTS]


class Schema:
    """A schema that can be used, compiled. It never changes; any number of threads may use it.

    All formats that the library knows are asserted. `pattern` means "contains a match", as always.
    """

    def __init__(self, document: Any, whole: Part, sizes: Mapping[str, int]) -> None:
        self._whole = whole
        self._patterns = Patterns(whole, sizes)
        self._defaults = _Defaults(whole, self._patterns.places.parts())
        self._registry = jsonschema_rs.Registry([(_DOCUMENT, document)], draft=jsonschema_rs.Draft202012)
        self._validators: dict[tuple[Part, str], jsonschema_rs.Validator] = {}
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

    def fits(self, part: Part, value: Any) -> bool:
        key = (part, "")
        if key not in self._validators:
            reference = _DOCUMENT + pointer(*part.path)
            self._validators[key] = compiled({"$ref": reference}, self._registry)
        return self._validators[key].is_valid(value)

    def fits_keyword(self, part: Part, keyword: str, value: Any) -> bool:
        """Whether the value fits one of the simple keywords of a part."""
        key = (part, keyword)
        if key not in self._validators:
            self._validators[key] = compiled({keyword: part.schema[keyword]})
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
    reading = Reading()
    try:
        whole = reading.read(document)
        if reading.faults:
            return None, reading.faults
        if isinstance(document, dict):
            document.pop("$id", None)  # as all references start with "#", it means nothing here
        made = Schema(document, whole, reading.sizes)
    except Unusable as unusable:
        return None, [*reading.faults, unusable.fault]
    except jsonschema_rs.ValidationError as error:  # the library has the last word
        return None, [SchemaFault((), "schema", error.message[:MOST_DETAIL])]
    faults = list(made.bad_defaults())
    return (None if faults else made), faults


class _Defaults:
    """The defaults of a schema, as JSON, by the place of the object that they are filled into."""

    def __init__(self, whole: Part, parts: Iterable[Part]) -> None:
        places = Places(SURE, Part.demands)
        self.holding = [part for part in parts if part.holds_default]
        self.starts = {part: places.start(part) for part in [whole, *self.holding]}
        self.at: dict[Place, dict[str, bytes]] = {}
        for place in places.known.values() if self.holding else ():
            named = {step: below for step, below in place.below.items() if isinstance(step, str)}
            for step, below in named.items():
                held = [part.schema["default"] for part in below.asked if part.holds_default]
                if held:
                    self.at.setdefault(place, {})[step] = orjson.dumps({step: held[0]})
        self.leading = leading_to(self.at, places.known.values())


class _Filling:
    """Fills defaults into values."""

    def __init__(self, defaults: _Defaults) -> None:
        self._defaults = defaults
        self._left = MOST_FILLED

    def fill(self, value: Any, part: Part) -> Any:
        return self._fill(value, self._defaults.starts[part], 0)

    def _fill(self, value: Any, place: Place | None, depth: int) -> Any:
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
        for step, member in inner(filled):
            filled[step] = self._fill(member, place.at(step), depth + 1)
        return filled


class _Search:
    """Looks for the misfits of one value, until it has found enough or looked at enough."""

    def __init__(self, schema: Schema, most: int, most_bytes: int) -> None:
        self.found: list[Misfit] = []
        self._schema = schema
        self._most = most
        self._left = most_bytes

    def look(self, value: Any, at: Path, parts: Iterable[Part], depth: int = 0) -> None:
        """Look within a value that does not fit all of `parts`."""
        before = len(self.found)
        sure = [*asked_with(Counter(parts), SURE)]
        for part in sure:
            self._look_at(part, value, at)
            for other in self._chosen(part, value) if depth < _DEEPEST_SEARCH else ():
                if not self._fits(other, value):
                    self.look(value, at, [other], depth + 1)
        for step, member in inner(value) if depth < _DEEPEST_SEARCH else ():
            if len(self.found) >= self._most or self._left < 0:
                break
            demanded = [each for part in sure for each in part.demands(step)]
            if any(each.schema is False and each.path[-1] == "additionalProperties" for each in demanded):
                self._add((*at, step), _unknown(str(step), sure))
            elif not all(self._fits(each, member) for each in demanded):
                self.look(member, (*at, step), demanded, depth + 1)
        if len(self.found) == before:
            keywords = {keyword for part in sure for keyword in part.below} - ASIDE - {*SURE}
            self._add(at, f"this does not fit what the schema says with {', '.join(sorted(keywords))}")

    def _fits(self, part: Part, value: Any) -> bool:
        self._left -= len(orjson.dumps(value))
        return self._schema.fits(part, value)

    def _add(self, at: Path, detail: str) -> None:
        if len(self.found) < self._most:
            self.found.append(Misfit(at, detail[:MOST_DETAIL]))

    def _look_at(self, part: Part, value: Any, at: Path) -> None:
        if part.schema is False:
            self._add(at, "nothing is allowed here")
        for keyword in part.schema if isinstance(part.schema, dict) else ():
            wanted = part.schema[keyword]
            if keyword in _SIMPLE and not self._schema.fits_keyword(part, keyword, value):
                self._add(at, f"this does not fit {keyword} {orjson.dumps(wanted).decode()}")
        for name in part.get("required") or () if isinstance(value, dict) else ():
            if name not in value:
                self._add(at, f"the member {shown(name)} is missing")

    def _chosen(self, part: Part, value: Any) -> Iterator[Part]:
        """What a value must fit because of what it is."""
        for condition in part.held("if"):
            yield from part.held("then" if self._fits(condition, value) else "else")
        for name, each in part.below.get("dependentSchemas", {}).items():
            if isinstance(value, dict) and name in value:
                yield each
        for keyword in CHOICES:
            likely = [each for each in part.held(keyword) if self._may_be(each, value)]
            if len(likely) == 1:
                yield likely[0]

    def _may_be(self, part: Part, value: Any) -> bool:
        """Whether the value is of the type that the part asks for, if it asks for one."""
        typed = [each for each in asked_with(Counter([part]), SURE) if each.get("type") is not None]
        return all(self._schema.fits_keyword(each, "type", value) for each in typed)


def _unknown(name: str, parts: Iterable[Part]) -> str:
    known = [str(each) for part in parts for each in part.below.get("properties", ())]
    like = nearest(name, known)
    return f"there is no member {shown(name)} here" + (f"; did you mean {shown(like)}?" if like else "")
