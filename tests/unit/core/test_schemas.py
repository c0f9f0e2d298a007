from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.plain import Path
from flow_manager.core.schema_parts import MOST_ASKED
from flow_manager.core.schema_reading import DIALECT, LONGEST_PATTERN, MOST_NESTED, MOST_PARTS, MOST_PATTERNS
from flow_manager.core.schemas import MOST_BYTES, MOST_FAULTS, Schema, check_schema
from flow_manager.errors import TooLarge

ORDER: dict[str, Any] = {
    "$schema": DIALECT,
    "$id": "https://example.com/order",
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
        "mode": {"enum": ["fast", "slow"], "default": "fast"},
        "note": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
        "options": {"type": "object", "default": {}, "properties": {"retries": {"default": 3}}},
    },
    "required": ["id", "lines"],
    "additionalProperties": False,
    "$defs": {
        "line": {
            "type": "object",
            "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}, "count": {"default": 1}},
            "required": ["sku"],
        }
    },
}
LINKED_LIST = {
    "$defs": {"node": {"type": ["object", "null"], "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}
TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
RULES = {
    "$defs": {
        "rule": {
            "oneOf": [
                {"type": "string"},
                {"type": "object", "properties": {"all": {"items": {"$ref": "#/$defs/rule"}}}},
                {"type": "object", "properties": {"not": {"$ref": "#/$defs/rule"}}, "required": ["not"]},
            ]
        }
    },
    "$ref": "#/$defs/rule",
}


def nested(times: int, leaf: Any, name: str) -> Any:
    for _ in range(times):
        leaf = {name: leaf}
    return leaf


def doubling(times: int) -> dict[str, Any]:
    levels: dict[str, Any] = {"level0": {"type": "object"}}
    for number in range(times):
        below = {"$ref": f"#/$defs/level{number}"}
        levels[f"level{number + 1}"] = {"allOf": [below, below]}
    return {"$defs": levels, "$ref": f"#/$defs/level{times}"}


def faults(schema: Any) -> list[tuple[str, Path]]:
    return [(fault.code, fault.path) for fault in check_schema(schema)]


def misfits(schema: Any, value: Any) -> list[tuple[Path, str]]:
    return [(misfit.path, misfit.detail) for misfit in Schema.compile(schema).misfits(value)]


@pytest.mark.parametrize(
    "schema",
    [
        True,
        False,
        {},
        ORDER,
        LINKED_LIST,
        TREE,
        RULES,
        doubling(4),
        {"$schema": DIALECT + "#"},
        {"$ref": "#/$defs/a%20b~1~0", "$defs": {"a b/~": True}},
        {"$ref": "#here", "$defs": {"a": {"$anchor": "here"}}},
        {"$dynamicRef": "#here", "$defs": {"a": {"$dynamicAnchor": "here"}}},
        {"$ref": "#/allOf/0", "allOf": [{"type": "string"}]},
        {"const": {"$ref": "https://example.com"}, "default": {"$ref": "https://example.com"}},
        {"x-schema": {"$ref": "https://example.com"}, "enum": [{"$id": "https://example.com"}]},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}, "pattern": {"minLength": 1}}},
        {"pattern": "(a+)+$"},
        {"enum": [*range(5000)]},
        {"format": "unheard-of"},
        {"properties": {f"p{number}": {"type": "string"} for number in range(MOST_PARTS - 1)}},
    ],
)
def test_a_schema_that_can_be_used_has_no_faults(schema: Any) -> None:
    assert faults(schema) == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (5, [("schema", ())]),
        ({"type": "text"}, [("schema", ("type",))]),
        ({"properties": {"a": {"minimum": "x"}}}, [("schema", ("properties", "a", "minimum"))]),
        ({"items": [1]}, [("schema", ("items",))]),
        ({"$ref": 5}, [("schema", ("$ref",))]),
        ({"$ref": "#/$defs/a"}, [("schema", ("$ref",))]),
        ({"$ref": "#a"}, [("schema", ("$ref",))]),
        ({"$ref": "#%61", "items": {"$anchor": "a"}}, [("schema", ("$ref",))]),
        ({"$anchor": "a", "items": {"$anchor": "a"}}, [("schema", ("items", "$anchor"))]),
        ({"$ref": "#/x", "x": {}}, [("schema", ("$ref",))]),
        ({"$ref": "#/properties", "properties": {}}, [("schema", ("$ref",))]),
        ({"$ref": "https://example.com/a"}, [("external-ref", ("$ref",))]),
        ({"$ref": "file:///etc/passwd"}, [("external-ref", ("$ref",))]),
        ({"$ref": "other"}, [("external-ref", ("$ref",))]),
        ({"$ref": ""}, [("external-ref", ("$ref",))]),
        ({"$dynamicRef": "https://example.com#a"}, [("external-ref", ("$dynamicRef",))]),
        ({"x": 1, "$id": "https://example.com/a", "$ref": "a"}, [("external-ref", ("$ref",))]),
        ({"items": {"$id": "https://example.com/a"}}, [("external-ref", ("items", "$id"))]),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, [("unsupported-schema", ("$schema",))]),
        ({"not": {"$schema": "https://example.com"}}, [("unsupported-schema", ("not", "$schema"))]),
        ({"pattern": "(?<=a)b"}, [("unsafe-regex", ("pattern",))]),
        ({"pattern": "(?!a)b"}, [("unsafe-regex", ("pattern",))]),
        ({"pattern": r"(a)\1"}, [("unsafe-regex", ("pattern",))]),
        ({"pattern": "("}, [("unsafe-regex", ("pattern",))]),
        ({"pattern": "a{1000}{1000}"}, [("unsafe-regex", ("pattern",))]),
        ({"pattern": "a" * (LONGEST_PATTERN + 1)}, [("unsafe-regex", ("pattern",))]),
        ({"patternProperties": {"(?=a)": True}}, [("unsafe-regex", ("patternProperties", "(?=a)"))]),
        (
            {"properties": {"a": {"type": "string", "default": 1}}},
            [("bad-default", ("properties", "a", "default"))],
        ),
        (
            {"properties": {"a": {"$ref": "#", "default": {}}}},
            [("bad-default", ("properties", "a", "default"))],
        ),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(schema: Any, expected: list[tuple[str, Path]]) -> None:
    assert faults(schema) == expected
    with pytest.raises(ValueError, match="not a usable schema"):
        Schema.compile(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"description": "x" * MOST_BYTES},
        {"x": nested(64, 1, "a")},
        {"x": float("nan")},
        {"x": "\ud800"},
        {"properties": {f"p{number}": True for number in range(MOST_PARTS)}},
        {"properties": {f"p{number}": {"pattern": f"{number}"} for number in range(MOST_PATTERNS + 1)}},
        nested(MOST_NESTED + 1, {}, "not"),
        doubling(10),
        {"allOf": [{"type": "string"}] * MOST_ASKED},
        {"items": {"oneOf": [{"const": number + 0.5} for number in range(10)]}},
        {"items": {"enum": ["a", *range(100)]}},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "#/properties/a", "properties": {"a": {"$ref": "#"}}},
        {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]},
        {"properties": {"a": {"$ref": "#"}}, "patternProperties": {"a": {"$ref": "#"}}},
        {"allOf": [{"properties": {"a": {"$ref": "#"}}}], "unevaluatedProperties": False},
        {"$defs": {"a": {"$dynamicAnchor": "a", "allOf": [{"$dynamicRef": "#a"}]}}, "$ref": "#a"},
        {"allOf": [{"properties": {f"p{number}": True for number in range(20)}} for _ in range(90)]}
        | {"additionalProperties": {"$ref": "#/allOf/0"}, "items": {"allOf": [{"$ref": "#/allOf/1"}] * 90}},
    ],
)
def test_what_could_cost_too_much_is_too_complex(schema: Any) -> None:
    assert [code for code, _ in faults(schema)] == ["schema-too-complex"]


def test_all_faults_are_told_at_once_up_to_a_limit() -> None:
    schema = {
        "type": "text",
        "pattern": "(?=a)",
        "items": {"$ref": "https://example.com"},
        "properties": {"a": {"$schema": "x"}},
    }

    assert sorted(code for code, _ in faults(schema)) == [
        "external-ref",
        "schema",
        "unsafe-regex",
        "unsupported-schema",
    ]
    assert (
        len(check_schema({"properties": {f"p{number}": {"type": 1} for number in range(500)}})) == MOST_FAULTS
    )


def test_a_schema_is_read_once() -> None:
    written = copy.deepcopy(ORDER)
    schema = Schema.compile(written)
    written["properties"]["id"]["type"] = "string"

    assert schema.misfits({"id": 1, "lines": [{"sku": "A"}]}) == []
    assert ORDER["$id"] == "https://example.com/order"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"id": 1, "lines": [{"sku": "A"}]}, []),
        ({"id": 1, "lines": [{"sku": "A"}], "note": None, "mode": "slow"}, []),
        ([], [((), 'this does not fit type "object"')]),
        ({}, [((), "the member 'id' is missing"), ((), "the member 'lines' is missing")]),
        ({"id": 0, "lines": [{"sku": "A"}]}, [(("id",), "this does not fit minimum 1")]),
        (
            {"id": 1.5, "lines": []},
            [(("id",), 'this does not fit type "integer"'), (("lines",), "this does not fit minItems 1")],
        ),
        (
            {"id": 1, "lines": [{"sku": "A"}, {"sku": "a"}, {}, 5]},
            [
                (("lines", 1, "sku"), 'this does not fit pattern "^[A-Z]+$"'),
                (("lines", 2), "the member 'sku' is missing"),
                (("lines", 3), 'this does not fit type "object"'),
            ],
        ),
        (
            {"id": 1, "lines": [{"sku": "A"}], "modes": "fast"},
            [(("modes",), "there is no member 'modes' here; did you mean 'mode'?")],
        ),
        (
            {"id": 1, "lines": [{"sku": "A"}], "note": "too long"},
            [(("note",), "this does not fit maxLength 5")],
        ),
        (
            {"id": 1, "lines": [{"sku": "A"}], "note": 5},
            [(("note",), "this does not fit what the schema says with anyOf")],
        ),
    ],
)
def test_misfits_are_told_with_their_place(value: Any, expected: list[tuple[Path, str]]) -> None:
    assert misfits(ORDER, value) == expected


IF_LARGE = {
    "if": {"properties": {"n": {"minimum": 10}}},
    "then": {"required": ["why"]},
    "else": {"required": ["n"]},
}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (False, 1, [((), "nothing is allowed here")]),
        ({"properties": {"a": False}}, {"a": 1}, [(("a",), "nothing is allowed here")]),
        ({"enum": ["a", 1]}, "b", [((), 'this does not fit enum ["a",1]')]),
        ({"const": None}, 0, [((), "this does not fit const null")]),
        ({"multipleOf": 0.5}, 0.75, [((), "this does not fit multipleOf 0.5")]),
        ({"uniqueItems": True}, [1, 1], [((), "this does not fit uniqueItems true")]),
        (
            {"prefixItems": [True, {"type": "string"}], "items": False},
            [1, 2, 3],
            [((1,), 'this does not fit type "string"'), ((2,), "nothing is allowed here")],
        ),
        ({"contains": {"const": "a"}}, ["b"], [((), "this does not fit what the schema says with contains")]),
        (
            {"propertyNames": {"maxLength": 1}},
            {"ab": 1},
            [((), "this does not fit what the schema says with propertyNames")],
        ),
        (
            {"patternProperties": {"^n": {"type": "integer"}}},
            {"n": "1"},
            [((), "this does not fit what the schema says with patternProperties")],
        ),
        (
            {"properties": {"a": True}, "unevaluatedProperties": False},
            {"b": 1},
            [((), "this does not fit what the schema says with properties, unevaluatedProperties")],
        ),
        (
            {"dependentRequired": {"a": ["b"]}},
            {"a": 1},
            [((), 'this does not fit dependentRequired {"a":["b"]}')],
        ),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}, [((), "the member 'b' is missing")]),
        (IF_LARGE, {"n": 11}, [((), "the member 'why' is missing")]),
        (IF_LARGE, {"n": 9}, []),
        (LINKED_LIST, nested(60, 5, "next"), [(("next",) * 60, 'this does not fit type ["object","null"]')]),
        (TREE, {"left": {"right": 1}}, [(("left", "right"), 'this does not fit type "object"')]),
    ],
)
def test_each_keyword_has_its_sentence(schema: Any, value: Any, expected: list[tuple[Path, str]]) -> None:
    assert misfits(schema, value) == expected


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("date", "2026-01-31", "2026-02-30"),
        ("date-time", "2026-01-31T10:00:00Z", "2026-01-31"),
        ("time", "10:00:00Z", "25:00:00Z"),
        ("email", "a@example.com", "a"),
        ("uri", "https://example.com/a", "a b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", "::g"),
    ],
)
def test_formats_are_asserted(kind: str, good: str, bad: str) -> None:
    assert misfits({"format": kind}, good) == []
    assert misfits({"format": kind}, bad) == [((), f'this does not fit format "{kind}"')]


def test_a_sentence_is_short_and_does_not_repeat_the_value() -> None:
    long = "x" * 5000
    schema = {"enum": ["y" * 5000], "additionalProperties": False, "properties": {"n": True}}

    for value in (long, {long: long}, [long]):
        assert all(len(detail) <= 256 and "x" * 65 not in detail for _, detail in misfits(schema, value))


def test_only_as_many_misfits_are_told_as_are_wanted() -> None:
    schema = Schema.compile({"items": {"type": "string"}})

    assert [misfit.path for misfit in schema.misfits([1] * 1000, most=3)] == [(0,), (1,), (2,)]
    assert len(schema.misfits([1] * 1000)) == 100


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "[ab]*a[ab]{100}c"}, "ab" * 40_000),
        ({"items": {"pattern": "[ab]*a[ab]{100}c"}}, ["ab" * 50] * 1000),
        ({"anyOf": [{"properties": {"a": {"not": {"pattern": "[ab]*a[ab]{100}c"}}}}]}, {"a": "ab" * 40_000}),
        ({"patternProperties": {"[ab]*a[ab]{100}c": True}}, {"ab" * 40_000: 1}),
        ({"propertyNames": {"pattern": "[ab]*a[ab]{100}c"}}, {"ab" * 40_000: 1}),
    ],
)
def test_patterns_read_only_so_much_text(schema: Any, value: Any) -> None:
    assert misfits(schema, value) == [((), "this holds more text than the patterns of its schema may read")]


def test_text_that_no_pattern_reads_does_not_count() -> None:
    schema = {
        "properties": {
            "code": {"pattern": "^[a-z0-9-]{1,64}$"},
            "codes": {"items": {"$ref": "#/properties/code"}},
        }
    }

    assert misfits(schema, {"code": "a-1", "codes": ["b-2"] * 500, "text": "x" * 250_000}) == []


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"allOf": [{"minimum": 0}] * 98}}, [1] * 130_000),
        ({"items": {"anyOf": [{"type": "string"}] * 98}}, [1] * 130_000),
        ({"anyOf": [{"items": {"type": "string"}}] * 90}, [1] * 130_000),
        (
            {"required": [f"p{number}" for number in range(5000)]},
            {f"k{number}": 1 for number in range(20_000)},
        ),
        (LINKED_LIST, nested(60, ["x"] * 60_000, "next")),
        (RULES, nested(60, [1] * 130_000, "not")),
    ],
)
def test_a_large_value_is_looked_at_in_bounded_time(schema: Any, value: Any) -> None:
    """Listing every error of the second one would take the library more than a minute."""
    assert len(misfits(schema, value)) <= 100


@pytest.mark.parametrize(
    ("schema", "value", "filled"),
    [
        (ORDER, {"id": 1}, {"id": 1, "mode": "fast", "options": {"retries": 3}}),
        (
            ORDER,
            {"lines": [{"sku": "A"}, {"count": 2}, 5], "mode": None, "options": {}},
            {"lines": [{"sku": "A", "count": 1}, {"count": 2}, 5], "mode": None, "options": {"retries": 3}},
        ),
        (ORDER, [1], [1]),
        (
            {
                "allOf": [
                    {"properties": {"a": {"default": 1}}},
                    {"properties": {"a": {"default": 2}, "b": {"default": 3}}},
                ]
            },
            {},
            {"a": 1, "b": 3},
        ),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"default": 1}}}, {}, {"a": 1}),
        (
            {"anyOf": [{"properties": {"a": {"default": 1}}}], "if": {"properties": {"b": {"default": 1}}}},
            {},
            {},
        ),
        ({"prefixItems": [True, {"properties": {"a": {"default": 1}}}]}, [{}, {}, {}], [{}, {"a": 1}, {}]),
        (
            {"additionalProperties": {"properties": {"a": {"default": 1}}}},
            {"x": {}, "y": 1},
            {"x": {"a": 1}, "y": 1},
        ),
        (LINKED_LIST, {"next": {}}, {"next": {}}),
        (True, {"a": 1}, {"a": 1}),
    ],
)
def test_defaults_are_filled_in(schema: Any, value: Any, filled: Any) -> None:
    before = copy.deepcopy(value)

    assert Schema.compile(schema).with_defaults(value) == filled
    assert value == before


def test_what_is_filled_in_belongs_to_the_value_alone() -> None:
    schema = Schema.compile({"properties": {"tags": {"default": ["a"]}}})
    schema.with_defaults({})["tags"].append("b")

    assert schema.with_defaults({}) == {"tags": ["a"]}


def test_defaults_do_not_make_a_small_value_huge() -> None:
    schema = Schema.compile({"items": {"properties": {"a": {"default": "x" * 10_000}}}})

    with pytest.raises(TooLarge, match="add more than 1 MiB"):
        schema.with_defaults([{}] * 200)


def test_defaults_do_not_nest_too_deep() -> None:
    schema = Schema.compile(LINKED_LIST | {"properties": {"next": {"default": None}}})

    assert schema.with_defaults({}) == {"next": None}
    with pytest.raises(TooLarge, match="nests more than 64 deep"):
        Schema.compile({"properties": {"a": {"$ref": "#"}, "b": {"default": 1}}}).with_defaults(
            nested(64, {}, "a")
        )


texts = st.text(st.sampled_from("ab"), max_size=2)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2.0]) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(texts, inner, max_size=3)
    one = ["not", "if", "then", "else", "additionalProperties", "propertyNames", "items", "contains"]
    return st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(["allOf", "anyOf", "oneOf", "prefixItems"], several),
            **dict.fromkeys(["properties", "dependentSchemas", "patternProperties"], named),
            **dict.fromkeys([*one, "unevaluatedProperties", "unevaluatedItems"], inner),
            "type": st.sampled_from(["object", "array", "string", "integer", "null"]),
            "required": st.lists(texts, max_size=2, unique=True),
            "$ref": st.sampled_from(["#", "#/items", "#/properties/a", "#/allOf/0"]),
            "default": values,
        },
    )


leaves = st.booleans() | st.sampled_from(
    [
        {},
        {"type": "integer"},
        {"const": "a"},
        {"minimum": 1},
        {"maxLength": 1},
        {"minItems": 1},
        {"pattern": "a"},
    ]
)
schemas = st.recursive(leaves, wider, max_leaves=10)


@given(schemas, st.lists(values, min_size=1, max_size=5))
def test_a_value_has_misfits_if_and_only_if_the_library_says_so(schema: Any, tried: list[Any]) -> None:
    if check_schema(schema):
        return
    compiled, validator = Schema.compile(schema), jsonschema_rs.Draft202012Validator(schema)
    for value in tried:
        found = compiled.misfits(value)
        assert (found == []) == validator.is_valid(value)
        for misfit in found:
            held = value
            for step in misfit.path:
                held = held[step]


@given(schemas, values)
def test_filling_in_twice_is_filling_in_once(schema: Any, value: Any) -> None:
    if check_schema(schema):
        return
    before = orjson.dumps(value)
    filled = Schema.compile(schema).with_defaults(value)

    assert Schema.compile(schema).with_defaults(filled) == filled
    assert orjson.dumps(value) == before


@given(values | schemas.map(lambda schema: {"$schema": DIALECT, "$defs": {"a": schema}, "$ref": "#/$defs/a"}))
def test_any_json_is_checked_without_an_error(schema: Any) -> None:
    assert all(len(fault.detail) <= 256 for fault in check_schema(schema))
