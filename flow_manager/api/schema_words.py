"""JSON Schemas in words, for people: what stands in a table of members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

MOST_VALUES: Final = 12
"""Values of an enumeration that are told one by one."""

_BOUNDS: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "minItems": "entries at least",
    "maxItems": "entries at most",
    "maxProperties": "members at most",
    "pattern": "matches",
    "default": "default",
}


class Word(NamedTuple):
    """A piece of text; `refers` is the name of the schema that it leads to, or empty."""

    text: str
    refers: str = ""


class Member(NamedTuple):
    """A member of an object."""

    name: str
    is_required: bool
    words: Sequence[Word]
    description: str


def members_of(schema: Mapping[str, Any]) -> list[Member]:
    """The members of an object; of any other schema one line without a name."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return [Member("", False, list(words_of(schema)), "")]
    required = schema.get("required", ())
    return [
        Member(name, name in required, list(words_of(each)), str(each.get("description", "")))
        for name, each in properties.items()
        if isinstance(each, Mapping)
    ]


def words_of(schema: object) -> Iterator[Word]:
    """What values fit a schema, in words."""
    if not isinstance(schema, Mapping):
        yield Word("anything" if schema else "nothing")
        return
    yield from _kind(schema)
    bounds = [f"{words} {schema[name]}" for name, words in _BOUNDS.items() if _is_worth_telling(schema, name)]
    if bounds:
        yield Word(f" ({', '.join(bounds)})")


def _is_worth_telling(schema: Mapping[str, Any], name: str) -> bool:
    return schema.get(name) not in (None, "", [], {})


def _kind(schema: Mapping[str, Any]) -> Iterator[Word]:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        yield Word(name, name)
    elif "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        more = ", ..." if len(values) > MOST_VALUES else ""
        yield Word(", ".join(f"{value}" for value in values[:MOST_VALUES]) + more)
    elif "allOf" in schema:
        yield from _joined(schema["allOf"], " and ")
    elif "if" in schema:
        yield from _joined([schema["then"], schema["else"]], " or ")
    elif "anyOf" in schema or "oneOf" in schema:
        yield from _joined(schema.get("anyOf") or schema["oneOf"], " or ")
    else:
        yield from _plain_kind(schema)


def _plain_kind(schema: Mapping[str, Any]) -> Iterator[Word]:
    kind = schema.get("type", "anything")
    if "type" not in schema and isinstance(schema.get("properties"), Mapping):
        for name, each in schema["properties"].items():
            yield Word(f"{name}: ")
            yield from words_of(each)
    elif isinstance(kind, list):
        yield Word(" or ".join(kind))
    elif kind == "array":
        yield Word("list of ")
        yield from words_of(schema.get("items", True))
    elif kind == "object" and isinstance(schema.get("properties"), Mapping):
        yield Word("object with " + ", ".join(schema["properties"]))
    elif kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        yield Word("object of ")
        yield from words_of(schema["additionalProperties"])
    else:
        yield Word(f"{kind}, {schema['format']}" if "format" in schema else str(kind))


def _joined(schemas: Sequence[object], by: str) -> Iterator[Word]:
    for number, each in enumerate(schemas):
        if number:
            yield Word(by)
        yield from words_of(each)
