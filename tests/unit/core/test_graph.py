from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.definition import Condition, Flow, Outcome, Task
from flow_manager.core.document_words import NAME
from flow_manager.core.graph import dot, mermaid
from tests.support.flows import flow_of

SAMPLE = flow_of(
    "task1",
    Task("task2", "http"),
    "task3",
    conditions=[
        Condition("task1_result", "task1", target_task_success="task2"),
        Condition("task2_result", "task2", target_task_success="task3"),
    ],
)


def test_the_sample_flow_as_mermaid() -> None:
    assert mermaid(SAMPLE) == (
        "flowchart TD\n"
        '    begin(["start"])\n'
        '    t0["task1"]\n'
        '    t1["task2<br/>http"]\n'
        '    t2["task3"]\n'
        '    finish(["end"])\n'
        "    begin --> t0\n"
        '    t0 -->|"task1_result: success"| t1\n'
        '    t0 -.->|"task1_result: failure"| finish\n'
        '    t1 -->|"task2_result: success"| t2\n'
        '    t1 -.->|"task2_result: failure"| finish\n'
        "    t2 --> finish\n"
    )


def test_the_sample_flow_as_dot() -> None:
    assert dot(SAMPLE) == (
        'digraph "test" {\n'
        "    node [shape=box];\n"
        '    begin [label="start", shape=oval];\n'
        '    t0 [label="task1"];\n'
        '    t1 [label="task2\\nhttp"];\n'
        '    t2 [label="task3"];\n'
        '    finish [label="end", shape=oval];\n'
        "    begin -> t0;\n"
        '    t0 -> t1 [label="task1_result: success"];\n'
        '    t0 -> finish [label="task1_result: failure", style=dashed];\n'
        '    t1 -> t2 [label="task2_result: success"];\n'
        '    t1 -> finish [label="task2_result: failure", style=dashed];\n'
        "    t2 -> finish;\n"
        "}\n"
    )


def ways(flow: Flow) -> list[str]:
    """What is written at the ways out of the first task."""
    return re.findall(r't0 .*\|"(.*)"\|', mermaid(flow))


@pytest.mark.parametrize(
    ("outcomes", "labels"),
    [
        (["success"], ["c0: success", "c0: failure"]),
        (["failure"], ["c0: failure", "c0: otherwise"]),
        (["timeout"], ["c0: timeout", "c0: otherwise"]),
        (["success", "failure"], ["c0: success", "c1: failure"]),
        (["failure", "timeout"], ["c0: failure", "c1: otherwise"]),
        (["success", "success"], ["c0: success", "c1: failure"]),
        (["success", "timeout"], ["c0: success", "c1: timeout", "c1: otherwise"]),
    ],
)
def test_only_ways_that_can_be_taken_are_drawn(outcomes: list[Outcome], labels: list[str]) -> None:
    conditions = [Condition(f"c{number}", "task", outcome=outcome) for number, outcome in enumerate(outcomes)]

    assert ways(flow_of("task", conditions=conditions)) == labels


def test_an_optional_task_goes_on_as_if_it_had_succeeded() -> None:
    flow = flow_of(Task("task", "task", optional=True), conditions=[Condition("c0", "task")])

    assert ways(flow) == ["c0: success"]


names = st.lists(
    st.from_regex(NAME, fullmatch=True) | st.sampled_from(["End", "graph", "subgraph", "node", "o", "x"]),
    min_size=2,
    max_size=4,
    unique=True,
)


@given(names)
def test_every_name_stands_in_quotes(allowed: list[str]) -> None:
    conditions = [Condition(name, allowed[0], target_task_success=name) for name in allowed]
    flow = flow_of(*allowed, conditions=conditions)
    node = r"(begin|finish|t\d+)"
    label = r'"[^"#<]*"'

    for line in mermaid(flow).splitlines()[1:]:
        assert re.fullmatch(rf"    {node}(\[{label}\]|\(\[{label}\]\)| -\.?->(\|{label}\|)? {node})", line)


def test_what_means_something_to_a_tool_is_escaped() -> None:
    flow = flow_of(Task("end", 'a"b\\c#1;`<b>'))

    assert '["end<br/>a#34;b#92;c#35;1#59;#96;#60;b#62;"]' in mermaid(flow)
    assert '[label="end\\na\\"b\\\\c#1;`<b>"]' in dot(flow)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it() -> None:
    drawn = subprocess.run(["dot", "-Tplain"], input=dot(SAMPLE), capture_output=True, text=True, check=True)

    assert drawn.stdout.startswith("graph ")
