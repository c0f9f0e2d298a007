from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.problems import nearest, pointer


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), "#"),
        (("flow", "tasks", 0, "name"), "#/flow/tasks/0/name"),
        (("",), "#/"),
        (("a/b", "m~n", "~1"), "#/a~1b/m~0n/~01"),
        (("c%d", "e^f", "g|h", "i\\j", 'k"l', " "), "#/c%25d/e%5Ef/g%7Ch/i%5Cj/k%22l/%20"),
        (("ü", "名"), "#/%C3%BC/%E5%90%8D"),
        (("x-a_b.c", "it's"), "#/x-a_b.c/it's"),
        (("half \ud800",), "#/half%20%3F"),
    ],
)
def test_a_pointer_is_written_as_rfc_6901_says(path: tuple[str | int, ...], expected: str) -> None:
    assert pointer(*path) == expected


@given(st.lists(st.text()))
def test_a_pointer_can_be_read_back(path: list[str]) -> None:
    written = pointer(*path)

    steps = unquote(written.removeprefix("#")).split("/")[1:]

    assert written.isascii()
    assert [step.replace("~1", "/").replace("~0", "~") for step in steps] == path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shipp", "ship"),
        ("Ship", "ship"),
        ("target_task_sucess", "target_task_success"),
        ("zzz", None),
        ("", None),
    ],
)
def test_the_name_most_like_another_is_found(name: str, expected: str | None) -> None:
    assert nearest(name, ["ship", "store", "target_task_success", "target_task_failure"]) == expected


def test_among_no_names_none_is_near() -> None:
    assert nearest("ship", []) is None


def test_a_name_of_any_length_is_compared_quickly() -> None:
    assert nearest("x" * 1_000_000, ["ship", "x" * 128]) == "x" * 128
