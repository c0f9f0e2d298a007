"""A flow as text for a drawing tool: Mermaid and DOT, the language of Graphviz.

Only the ways that an execution can take are drawn: solid where a condition matches, dashed
where none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, get_args

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.definition import END, Flow, Outcome, Task

_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
_UNSUCCESSFUL: Final = frozenset(_OUTCOMES) - {"success"}
_UNTOUCHED: Final = frozenset("-_.:/ ")
"""Characters beside letters and digits that mean nothing to Mermaid within a quoted label."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A way out of a task, and what is written at it."""

    source: str
    target: str
    label: str
    is_match: bool


def mermaid(flow: Flow) -> str:
    """The flow as a Mermaid flowchart."""
    nodes = _node_ids(flow)
    lines = ["flowchart TD", '    begin(["start"])']
    for task in flow.tasks.values():
        label = "<br/>".join(_mermaid_text(line) for line in _box(task))
        lines.append(f'    {nodes[task.name]}["{label}"]')
    lines += ['    finish(["end"])', f"    begin --> {nodes[flow.start_task]}"]
    for way in _ways(flow):
        arrow = "-->" if way.is_match else "-.->"
        label = f'|"{_mermaid_text(way.label)}"|' if way.label else ""
        lines.append(f"    {nodes[way.source]} {arrow}{label} {nodes[way.target]}")
    return "\n".join(lines) + "\n"


def dot(flow: Flow) -> str:
    """The flow as a Graphviz digraph."""
    nodes = _node_ids(flow)
    lines = [f"digraph {_quoted(flow.id)} {{", "    node [shape=box];"]
    lines.append('    begin [label="start", shape=oval];')
    lines += [f"    {nodes[task.name]} [label={_quoted(*_box(task))}];" for task in flow.tasks.values()]
    lines += ['    finish [label="end", shape=oval];', f"    begin -> {nodes[flow.start_task]};"]
    for way in _ways(flow):
        look = [f"label={_quoted(way.label)}"] if way.label else []
        look += [] if way.is_match else ["style=dashed"]
        suffix = f" [{', '.join(look)}]" if look else ""
        lines.append(f"    {nodes[way.source]} -> {nodes[way.target]}{suffix};")
    return "\n".join([*lines, "}"]) + "\n"


def _node_ids(flow: Flow) -> dict[str, str]:
    """Made ids: a task may be called `graph` or `node`, which mean something to the tools."""
    return {END: "finish"} | {name: f"t{number}" for number, name in enumerate(flow.tasks)}


def _box(task: Task) -> list[str]:
    return [task.name] if task.type == task.name else [task.name, task.type]


def _ways(flow: Flow) -> Iterator[_Way]:
    for task in flow.tasks.values():
        yield from _ways_out(flow, task)


def _ways_out(flow: Flow, task: Task) -> Iterator[_Way]:
    """The first condition that matches chooses, so each one only sees the outcomes left to it."""
    conditions = flow.conditions_from.get(task.name, ())
    if not conditions:
        yield _Way(task.name, END, "", is_match=True)
        return
    evaluator = ConditionEvaluator()
    left: set[Outcome] = {"success"} if task.optional else set(_OUTCOMES)
    for condition in conditions:
        matched = {outcome for outcome in left if evaluator.expects(condition, outcome)}
        if matched:
            label = f"{condition.name}: {condition.outcome}"
            if condition.when is not None:
                label += f", if {condition.when.source}"
            yield _Way(task.name, condition.target_task_success, label, is_match=True)
        if condition.when is None:
            left -= matched
    if left:
        last = conditions[-1]
        outcome = "failure" if left == _UNSUCCESSFUL else "otherwise"
        yield _Way(task.name, last.target_task_failure, f"{last.name}: {outcome}", is_match=False)


def _mermaid_text(text: str) -> str:
    return "".join(each if each.isalnum() or each in _UNTOUCHED else f"#{ord(each)};" for each in text)


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
