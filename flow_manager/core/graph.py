"""A flow as text for a drawing tool: Mermaid and DOT, the language of Graphviz.

Only the ways that an execution can take are drawn: solid where a condition matches, dashed
where none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flow_manager.core.definition import END, Flow, Task
from flow_manager.core.ways import OUTCOMES, Way, ways_out

_UNSUCCESSFUL: Final = frozenset(OUTCOMES) - {"success"}
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
    lines = [task.name] if task.type == task.name else [task.name, task.type]
    return lines if task.run_when is None else [*lines, f"if {task.run_when.source}"]


def _ways(flow: Flow) -> Iterator[_Way]:
    undoing = {task.compensate_with for task in flow.tasks.values()}
    for task in flow.tasks.values():
        for way in ways_out(flow, task) if task.name not in undoing else ():
            yield _Way(way.source, way.target, _label(way), way.is_match or way.condition is None)
        if task.compensate_with is not None:
            yield _Way(task.name, task.compensate_with, "undone by", is_match=False)


def _label(way: Way) -> str:
    condition = way.condition
    if condition is None:
        return ""
    if not way.is_match:
        return f"{condition.name}: {'failure' if way.outcomes == _UNSUCCESSFUL else 'otherwise'}"
    guard = "" if condition.when is None else f", if {condition.when.source}"
    return f"{condition.name}: {condition.outcome}{guard}"


def _mermaid_text(text: str) -> str:
    return "".join(each if each.isalnum() or each in _UNTOUCHED else f"#{ord(each)};" for each in text)


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
