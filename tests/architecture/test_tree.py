"""What a machine can say about the shape of the tree."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "flow_manager").rglob("*.py"))

LONGEST_MODULE = 310
LONGEST_DOOR = 15
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "base", "manager", "misc"}

DOORS = {
    "flow_engine": {
        "FlowParser": "flow_manager.core.parser",
        "ConditionEvaluator": "flow_manager.core.conditions",
        "FlowOrchestrator": "flow_manager.engine.orchestrator",
    },
    "task_executor": {
        "PermanentTaskError": "flow_manager.core.results",
        "RetryTask": "flow_manager.core.results",
        "TaskExecutor": "flow_manager.tasks.executor",
        "TaskRegistry": "flow_manager.tasks.registry",
        "register_task": "flow_manager.tasks.registry",
    },
    "models": {
        "TaskStatus": "flow_manager.core.results",
        "TaskExecutionResult": "flow_manager.core.results",
        "TaskError": "flow_manager.core.results",
        "Flow": "flow_manager.core.definition",
        "Task": "flow_manager.core.definition",
        "Condition": "flow_manager.core.definition",
        "ExecutionStatus": "flow_manager.core.states",
    },
}


def called(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=called)
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", MODULES, ids=called)
def test_a_module_is_called_by_what_it_holds(path: Path) -> None:
    words = {word for part in path.relative_to(ROOT).with_suffix("").parts[1:] for word in part.split("_")}

    assert not words & FORBIDDEN_NAMES


@pytest.mark.parametrize("path", MODULES, ids=called)
def test_no_import_hides_in_a_function(path: Path) -> None:
    hidden = [
        statement.lineno
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in ast.walk(function)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    ]

    assert hidden == []


@pytest.mark.parametrize(
    "path", [path for path in MODULES if called(path) != "flow_manager/cli/output.py"], ids=called
)
def test_only_the_output_of_the_command_line_prints(path: Path) -> None:
    calls = [
        node.func
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    printing = [
        ast.unparse(call) for call in calls if ast.unparse(call) in {"print", "click.echo", "click.secho"}
    ]

    assert printing == []


@pytest.mark.parametrize("name", ["app", *DOORS])
def test_a_door_is_short_and_holds_no_logic(name: str) -> None:
    text = (ROOT / f"{name}.py").read_text(encoding="utf-8")

    assert len(text.splitlines()) <= LONGEST_DOOR
    assert not [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]


@pytest.mark.parametrize(("door", "name"), [(door, name) for door, names in DOORS.items() for name in names])
def test_a_door_hands_out_the_very_same_object(door: str, name: str) -> None:
    module: ModuleType = import_module(door)

    assert getattr(module, name) is getattr(import_module(DOORS[door][name]), name)
    assert sorted(module.__all__) == sorted(DOORS[door])


def test_the_doors_stay_out_of_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert 'packages = ["flow_manager"]' in text
