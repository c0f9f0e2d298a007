from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from flow_manager.cli.excerpt import BEFORE, WIDTH, excerpt, printable
from flow_manager.errors import Problem

TEXT = '{\n  "flow": {\n    "start_task": "shipp"\n  }\n}\n'


def shown(text: str, problem: Problem) -> list[str]:
    return excerpt("flow.json", text, problem, "error").plain.splitlines()


def test_a_caret_points_at_the_value() -> None:
    problem = Problem("#/flow/start_task", "unknown-task", "no task named 'shipp'", "did you mean 'ship'?")

    assert shown(TEXT, problem) == [
        "error[unknown-task]: no task named 'shipp'",
        " --> flow.json:3:19",
        "  |",
        '3 |     "start_task": "shipp"',
        "  |                   ^^^^^^^",
        "  = hint: did you mean 'ship'?",
        "  = at #/flow/start_task",
    ]


def test_a_problem_of_the_text_is_shown_where_reading_stopped() -> None:
    problem = Problem("#", "syntax", "a comma too many", line=3, column=5, offset=19)

    assert shown(TEXT, problem)[1:] == [
        " --> flow.json:3:5",
        "  |",
        '3 |     "start_task": "shipp"',
        "  |     ^",
    ]


def test_of_a_long_line_only_the_part_around_the_place_is_shown() -> None:
    text = json.dumps({"before": "x" * 1000, "here": "y", "after": "z" * 1000})

    lines = shown(text, Problem("#/here", "code", "detail"))

    assert lines[3].startswith("1 | …")
    assert lines[3].endswith("…")
    assert len(lines[3]) <= WIDTH + 6
    start = lines[4].index("^")
    assert start == BEFORE + 5
    assert lines[3][start : start + 3] == '"y"'


def test_wide_characters_before_the_place_move_the_caret() -> None:
    lines = shown('{"名前": "x"}', Problem("#/名前", "code", "detail"))

    assert lines[3] == '1 | {"名前": "x"}'
    assert lines[4] == "  | " + " " * 9 + "^^^"


def test_control_characters_of_the_file_do_not_reach_the_terminal() -> None:
    assert (
        printable("a\x1b[31mb\tc\u202ed\r") == "a\N{REPLACEMENT CHARACTER}[31mb c\N{REPLACEMENT CHARACTER}d "
    )


@given(st.text(), st.integers(1, 50), st.integers(1, 200))
def test_any_text_and_any_place_can_be_shown(text: str, line: int, column: int) -> None:
    lines = shown(text, Problem("#", "syntax", text, line=line, column=column, offset=0))

    assert lines[1] == f"{' ' * len(str(line))}--> flow.json:{line}:{column}"
    assert all(printable(each) == each for each in lines)
    assert lines[-1].endswith("^")
