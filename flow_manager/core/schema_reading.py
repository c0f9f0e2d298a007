"""Reading a schema: its parts, its patterns, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs

from flow_manager.core.plain import Path, shown
from flow_manager.core.schema_parts import (
    OF_ITEMS,
    OF_MEMBERS,
    REFERENCES,
    SAME_PLACE,
    Part,
    Place,
    Places,
    SchemaFault,
    Unusable,
    cost_of,
    inner,
    leading_to,
)

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOST_PARTS: Final = 2000
MOST_NESTED: Final = 32
MOST_PATTERNS: Final = 100
LONGEST_PATTERN: Final = 512
PATTERN_UNIT: Final = 4 << 10
"""Bytes of a compiled pattern that read a character in 0.7 us at worst; larger ones take longer."""
PATTERN_SIZES: Final = (1, 4, 16)
"""In units. Repetition is what is large: `.{1,255}` is 380 KB, and `maxLength` says the same."""
MOST_READ: Final = 256 << 10
"""Characters that patterns read in one value, each times the size of its pattern: about 0.3 s at worst."""
MOST_DETAIL: Final = 256
_TYPES: Final = "a type is null, boolean, object, array, number, string or integer, or a list of these"
_UNSAFE: Final = (
    f"a pattern is a regular expression of at most {LONGEST_PATTERN} characters, without look-around and "
    f"back references, and of at most {PATTERN_SIZES[-1] * PATTERN_UNIT >> 10} KiB when compiled: for long "
    "repetitions, use maxLength"
)
ASIDE: Final = {"$defs", "definitions", "contentSchema"}
_HOLDING: Final = {*SAME_PLACE, *OF_MEMBERS, *OF_ITEMS, *ASIDE, "propertyNames"} - {*REFERENCES}
_BY_NAME: Final = {
    *("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"),
}


def compiled(
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
            compiled({"pattern": pattern}, pattern_size=size)
        except jsonschema_rs.ValidationError:
            continue
        return size
    return None


_META: Final = compiled({"$ref": DIALECT})


class Reading:
    """Reads a schema into its parts, and finds what is wrong with it."""

    def __init__(self) -> None:
        self.faults: list[SchemaFault] = []
        self.parts: list[Part] = []
        self.sizes: dict[str, int] = {}
        """Of the patterns, in units."""
        self._targets: dict[str, Part] = {}

    def read(self, document: Any) -> Part:
        """The whole schema as a part; what is wrong with it is in `faults`. Raises `Unusable`."""
        whole = self._read(document, (), 0)
        for part in self.parts:
            self._check_names(part)
            self._check_patterns(part)
        self._check_form(document)
        for part in self.parts:
            self._refer(part)
        return whole

    def _add(self, path: Path, code: str, detail: str) -> None:
        self.faults.append(SchemaFault(path, code, detail[:MOST_DETAIL]))

    def _read(self, schema: Any, path: Path, depth: int) -> Part:
        part = Part(path, schema, cost_of(schema))
        self.parts.append(part)
        self._targets["".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)] = part
        if depth > MOST_NESTED:
            raise Unusable(path, f"schemas nest at most {MOST_NESTED} deep")
        if len(self.parts) > MOST_PARTS:
            raise Unusable(path, f"a schema holds at most {MOST_PARTS} others")
        for keyword in schema if isinstance(schema, dict) else ():
            if keyword in _HOLDING:
                below = part.below[keyword] = {}
                for key, steps, each in _written(schema, keyword):
                    below[key] = self._read(each, (*path, *steps), depth + 1)
        return part

    def _check_names(self, part: Part) -> None:
        dialect = part.get("$schema")
        if isinstance(dialect, str) and dialect.rstrip("#") != DIALECT:
            self._add((*part.path, "$schema"), "unsupported-schema", f"the only dialect is {DIALECT}")
        if part.path and part.get("$id") is not None:
            self._add((*part.path, "$id"), "external-ref", "only the whole schema has an $id; use $anchor")
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = part.get(keyword)
            if isinstance(anchor, str) and self._targets.setdefault(anchor, part) is not part:
                self._add((*part.path, keyword), "schema", "another schema has this anchor")

    def _check_patterns(self, part: Part) -> None:
        patterns: dict[Any, Path] = {part.get("pattern"): (*part.path, "pattern")}
        for name in part.below.get("patternProperties", ()):
            patterns[name] = (*part.path, "patternProperties", name)
        for pattern, path in patterns.items():
            if not isinstance(pattern, str) or pattern in self.sizes:
                continue
            if len(self.sizes) >= MOST_PATTERNS:
                raise Unusable(path, f"a schema has at most {MOST_PATTERNS} patterns")
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

    def _refer(self, part: Part) -> None:
        for keyword in REFERENCES:
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
    for key, each in [("", written)] if is_one else inner(written):
        if isinstance(each, dict | bool):
            yield key, (keyword,) if is_one else (keyword, key), each


class Patterns:
    """Counts what the patterns of a schema have to read in a value."""

    def __init__(self, whole: Part, sizes: Mapping[str, int]) -> None:
        self.places = Places(SAME_PLACE, Part.asks)
        self._start = self.places.start(whole)
        self._of_texts: dict[Place, int] = {}
        self._of_names: dict[Place, int] = {}
        for place in self.places.known.values():
            for part, times in place.asked.items():
                named = sum(sizes[str(name)] for name in part.below.get("patternProperties", ()))
                self._of_names[place] = self._of_names.get(place, 0) + times * named
                self._of_texts[place] = self._of_texts.get(place, 0) + times * sizes.get(
                    part.get("pattern"), 0
                )
        reading = [place for place in self._of_texts if self._of_texts[place] or self._of_names[place]]
        self._leading = leading_to(reading, self.places.known.values())

    def read_too_much(self, value: Any) -> bool:
        return self._left(value, self._start, MOST_READ) < 0

    def _left(self, value: Any, place: Place | None, left: int) -> int:
        if place is None or place not in self._leading:
            return left
        if isinstance(value, str):
            return left - len(value) * self._of_texts[place]
        if isinstance(value, dict):
            names = place.below.get(type)
            of_names = self._of_names[place] + (self._of_texts[names] if names else 0)
            left -= of_names * sum(map(len, value)) if of_names else 0
        for step, member in inner(value):
            left = self._left(member, place.at(step), left)
        return left
