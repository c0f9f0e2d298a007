from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from flow_manager.cli import output
from flow_manager.cli.exits import ExitCode
from flow_manager.core.events import AttemptLost, AttemptStarted, ExecutionQuarantined, ExecutionStarted
from flow_manager.errors import StoreLocked
from flow_manager.settings import Settings
from tests.unit.cli.conftest import EXECUTION, FAILED, FLOW, CommandLine, second


def test_in_a_pipe_the_execution_is_the_only_thing_on_standard_output(flow_manager: CommandLine) -> None:
    result = flow_manager("run", flow_manager.write("flow.json", FLOW))

    assert result.exit_code == ExitCode.OK
    body = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (body["execution_id"], body["status"]) == (EXECUTION, "completed")
    assert [entry["task_name"] for entry in body["execution_history"]] == ["fetch", "store"]


def test_a_failed_execution_is_printed_all_the_same_and_exits_with_1(flow_manager: CommandLine) -> None:
    flow_manager.backend.events = FAILED

    result = flow_manager("run", flow_manager.write("flow.json", FLOW))

    assert result.exit_code == ExitCode.FAILED
    assert json.loads(result.stdout)["error"]["code"] == "task.failed"


def test_an_execution_that_waits_for_an_operator_exits_with_1(flow_manager: CommandLine) -> None:
    flow_manager.backend.events = (
        ExecutionStarted(at=second(0), flow_id="flow123"),
        AttemptStarted(at=second(0), task="fetch"),
        AttemptLost(at=second(1), task="fetch", reason="the worker died"),
        ExecutionQuarantined(at=second(1), task="fetch", reason="it died 3 times"),
    )

    result = flow_manager("run", flow_manager.write("flow.json", FLOW))

    assert result.exit_code == ExitCode.FAILED
    assert json.loads(result.stdout)["status"] == "quarantined"


@pytest.mark.parametrize("arguments", [["--input", '{"n": 2}'], ["--input", "@input.json"]])
def test_the_input_comes_from_the_option(arguments: list[str], flow_manager: CommandLine) -> None:
    flow_manager.write("input.json", {"n": 2})
    file = flow_manager.write("flow.json", FLOW | {"input": {"n": 1}})

    flow_manager("run", file, *arguments)

    assert flow_manager.backend.inputs == [{"n": 2}]


def test_the_input_comes_from_the_file_beside_the_flow(flow_manager: CommandLine) -> None:
    flow_manager("run", flow_manager.write("flow.json", FLOW | {"input": {"n": 1}}))

    assert flow_manager.backend.inputs == [{"n": 1}]
    assert flow_manager.backend.flows[0].id == "flow123"


def test_labels_come_from_the_file_beside_the_flow(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", FLOW | {"labels": {"team": "shop"}, "x-note": [1]})

    result = flow_manager("run", file, "--input", '{"n": 2}')

    assert result.exit_code == ExitCode.OK
    assert flow_manager.backend.labels == [{"team": "shop"}]
    assert flow_manager.backend.inputs == [{"n": 2}]


def test_the_flow_comes_from_standard_input(flow_manager: CommandLine) -> None:
    result = flow_manager("run", "-", stdin=json.dumps(FLOW["flow"]))

    assert result.exit_code == ExitCode.OK
    assert flow_manager.backend.inputs == [{}]


@pytest.mark.parametrize("text", ["[1]", '"x"', "{", "", "@missing.json"])
def test_an_input_that_is_no_object_starts_nothing(text: str, flow_manager: CommandLine) -> None:
    result = flow_manager("run", flow_manager.write("flow.json", FLOW), "--input", text)

    assert (result.exit_code, result.stdout) == (ExitCode.INVALID, "")
    assert "Error: Invalid value for '--input': " in result.stderr
    assert not flow_manager.backend.flows


def test_an_input_in_the_file_that_is_no_object_is_shown_at_its_place(flow_manager: CommandLine) -> None:
    result = flow_manager("run", flow_manager.write("flow.json", FLOW | {"input": [1]}))

    assert result.exit_code == ExitCode.INVALID
    assert "#/input" in result.stderr
    assert not flow_manager.backend.flows


def test_an_invalid_flow_starts_nothing_and_prints_nothing_on_standard_output(
    flow_manager: CommandLine,
) -> None:
    broken = {"flow": FLOW["flow"] | {"start_task": "fetsh"}}

    result = flow_manager("run", flow_manager.write("flow.json", broken))

    assert (result.exit_code, result.stdout) == (ExitCode.INVALID, "")
    assert "error[unknown-task]" in result.stderr
    assert not flow_manager.backend.flows


def test_a_missing_file_is_a_usage_error(flow_manager: CommandLine) -> None:
    result = flow_manager("run", "missing.json")

    assert result.exit_code == ExitCode.INVALID
    assert "missing.json" in result.stderr


def test_a_database_in_use_is_told_with_the_ways_out(flow_manager: CommandLine) -> None:
    flow_manager.refusal = StoreLocked("flow-manager.db is in use by process 7")

    result = flow_manager("run", flow_manager.write("flow.json", FLOW), env={"FLOW_MANAGER_PORT": "5001"})

    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "in use by process 7" in result.stderr
    assert "--database" in result.stderr
    assert "curl -X POST http://127.0.0.1:5001/flow/execute" in result.stderr
    assert "-d @flow.json" in result.stderr


def test_the_engine_is_closed_with_the_grace_when_the_execution_has_ended(flow_manager: CommandLine) -> None:
    flow_manager("run", flow_manager.write("flow.json", FLOW))

    assert flow_manager.backend.closed_with == [Settings().grace]


def test_an_interruption_closes_the_engine_at_once(flow_manager: CommandLine) -> None:
    flow_manager.backend.interrupt = True

    result = flow_manager("run", flow_manager.write("flow.json", FLOW))

    assert result.exit_code == ExitCode.INTERRUPTED
    assert flow_manager.backend.closed_with == [timedelta(0)]


def test_the_database_and_the_modules_are_settings(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", FLOW)

    flow_manager("run", file, "--database", "x.db", "--task-module", "shop")

    assert {settings.database for settings in flow_manager.settings} == {Path("x.db")}
    assert {settings.task_modules for settings in flow_manager.settings} == {("shop",)}


@pytest.mark.parametrize(
    ("arguments", "env", "level"),
    [
        ([], {}, "error"),
        (["--log-level", "debug"], {}, "debug"),
        ([], {"FLOW_MANAGER_LOG_LEVEL": "info"}, "info"),
    ],
)
def test_on_a_terminal_the_execution_is_shown_as_it_goes(
    arguments: list[str],
    env: dict[str, str],
    level: str,
    flow_manager: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)

    result = flow_manager("run", flow_manager.write("flow.json", FLOW), *arguments, env=env)

    assert result.exit_code == ExitCode.OK
    lines = result.stdout.splitlines()
    assert lines[0] == "✓ fetch  Data fetched successfully"
    assert lines[1] == "  → store (by fetched)"
    assert lines[-1] == f"completed in 2.00 s  {EXECUTION}"
    assert {settings.log_level for settings in flow_manager.settings} == {level}


def test_on_a_terminal_a_task_cannot_send_control_characters(
    flow_manager: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_manager.backend.events = FAILED
    monkeypatch.setattr(output, "is_terminal", lambda: True)

    result = flow_manager("run", flow_manager.write("flow.json", FLOW))

    assert "✗ fetch  no\N{REPLACEMENT CHARACTER}[31m answer" in result.stdout
    assert "\x1b" not in result.stdout
