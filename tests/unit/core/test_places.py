from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.places import Place, place_of
from flow_manager.core.problems import pointer

TEXT = """{
  "flow": {
    "id": "a",
    "x-e\\u0301 \\"q\\"": {"~/": null},
    "tasks": [
      {"name": "fetch", "timeout": -1.5},
      [],
      {"retry": {"max_atempts": 3}, "nested": "} ] \\" , {"}
    ]
  }
}
"""


@pytest.mark.parametrize(
    ("where", "marked"),
    [
        ("#", "{"),
        ("#/flow/id", '"a"'),
        ("#/flow/tasks", "["),
        ("#/flow/tasks/0", "{"),
        ("#/flow/tasks/0/name", '"fetch"'),
        ("#/flow/tasks/0/timeout", "-1.5"),
        ("#/flow/tasks/1", "["),
        ("#/flow/tasks/2/retry/max_atempts", "3"),
        ("#/flow/tasks/2/nested", '"} ] \\" , {"'),
        (pointer("flow", 'x-e\u0301 "q"', "~/"), "null"),
    ],
)
def test_a_value_is_marked(where: str, marked: str) -> None:
    place = place_of(TEXT, where)

    assert TEXT[place.offset : place.offset + place.length] == marked


@pytest.mark.parametrize(
    ("where", "marked"),
    [
        ("#/flow/tasks/2/retry/max_atempts", '"max_atempts"'),
        ("#/flow/tasks", '"tasks"'),
        ("#/flow/tasks/0", "{"),
        ("#/flow/missing", "{"),
        ("#", "{"),
    ],
)
def test_a_name_is_marked_if_it_is_what_is_wrong(where: str, marked: str) -> None:
    place = place_of(TEXT, where, of_name=True)

    assert TEXT[place.offset : place.offset + place.length] == marked


@pytest.mark.parametrize(
    ("where", "parent"),
    [
        ("#/nothing", "#"),
        ("#/flow/tasks/0/type", "#/flow/tasks/0"),
        ("#/flow/tasks/3", "#/flow/tasks"),
        ("#/flow/tasks/00", "#/flow/tasks"),
        ("#/flow/tasks/" + "9" * 5000, "#/flow/tasks"),
        ("#/flow/id/deeper/still", "#/flow/id"),
        ("not a pointer", "#"),
    ],
)
def test_of_what_is_missing_the_nearest_parent_is_marked(where: str, parent: str) -> None:
    assert place_of(TEXT, where) == place_of(TEXT, parent)


def test_lines_and_columns_count_from_one() -> None:
    assert place_of(TEXT, "#") == Place(line=1, column=1, offset=0, length=1)
    assert place_of(TEXT, "#/flow/tasks/1") == Place(line=7, column=7, offset=TEXT.index("[]"), length=1)


@pytest.mark.parametrize(
    ("text", "where", "marked"),
    [
        ('{"a": 1, "b": }', "#/b", '"b"'),
        ('{"a" 1, "b" 2}', "#/b", "2"),
        ('{"a": , "b": [1, 2', "#/b/1", "2"),
        ('{"a": "not closed\n, "b": 2}', "#/a", '"not closed'),
        ('{"a": "not closed\n, "b": 2}', "#/b", "2"),
        ('{"\\x": 1}', "#/%5Cx", "1"),
        ("{a: 1}", "#/a", "1"),
    ],
)
def test_in_a_broken_text_the_best_place_is_marked(text: str, where: str, marked: str) -> None:
    place = place_of(text, where)

    assert text[place.offset : place.offset + place.length] == marked


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_text_without_anything_is_marked_at_its_start(text: str) -> None:
    assert place_of(text, "#/flow") == Place(line=1, column=1, offset=0, length=0)


def test_deep_nesting_is_no_matter() -> None:
    depth = 100_000
    text = "[" * depth + "]" * depth

    place = place_of(text, "#" + "/0" * (depth - 1))

    assert place == Place(line=1, column=depth, offset=depth - 1, length=1)


@given(st.text('{}[]",:\\/~% \na0u'), st.text("#/~%a01"), st.booleans())
def test_any_text_has_a_place_within_one_of_its_lines(text: str, where: str, of_name: bool) -> None:
    place = place_of(text, where, of_name=of_name)

    line = text.split("\n")[place.line - 1]
    assert text[: place.offset].count("\n") == place.line - 1
    assert text[: place.offset].split("\n")[-1] == line[: place.column - 1]
    assert place.column - 1 + place.length <= len(line)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.sampled_from([None, 2]), st.booleans())
def test_every_value_of_a_document_is_found(document: object, indent: int | None, is_ascii: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii)
    paths: list[tuple[tuple[str | int, ...], object]] = [((), document)]

    for path, value in paths:
        place = place_of(text, pointer(*path))
        marked = text[place.offset : place.offset + place.length]
        if isinstance(value, dict | list):
            assert marked == ("{" if isinstance(value, dict) else "[")
            members = value.items() if isinstance(value, dict) else enumerate(value)
            paths += [((*path, step), member) for step, member in members]
        else:
            assert json.loads(marked) == value
