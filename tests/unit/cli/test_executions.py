from __future__ import annotations

import json

import pytest

from flow_manager.cli.exits import ExitCode
from flow_manager.ports.backend import Violation
from tests.unit.cli.conftest import COMPLETED, EXECUTION, FAILED, CommandLine


def test_an_execution_is_shown_with_its_task_runs(flow_manager: CommandLine) -> None:
    flow_manager.reader.events = FAILED

    shown = flow_manager("show", EXECUTION).stdout

    assert ["status", "failed"] in [line.split() for line in shown.splitlines()]
    assert "task.failed: no answer" in shown
    assert "no\N{REPLACEMENT CHARACTER}[31m answer" in shown


def test_its_history_is_shown_on_request(flow_manager: CommandLine) -> None:
    shown = flow_manager("show", EXECUTION, "--history").stdout

    assert [line.split()[2] for line in shown.splitlines()[-len(COMPLETED) :]] == [
        "execution_started", "attempt_started", "attempt_ended", "routed",
        "attempt_started", "attempt_ended", "routed", "execution_ended",
    ]  # fmt: skip


def test_as_json_an_execution_is_the_body_of_the_status_call(flow_manager: CommandLine) -> None:
    plain = json.loads(flow_manager("show", EXECUTION, "--json").stdout)
    full = json.loads(flow_manager("show", EXECUTION, "--json", "--history").stdout)

    assert plain == flow_manager.reader.describe(EXECUTION).to_json()
    assert len(full.pop("history")) == len(COMPLETED)
    assert full == plain


def test_an_unknown_execution_is_an_error(flow_manager: CommandLine) -> None:
    unknown = EXECUTION[:-1] + "2"

    result = flow_manager("show", unknown)

    assert (result.exit_code, result.stderr) == (
        ExitCode.INVALID,
        f"error: no execution has the id {unknown}\n",
    )


def test_an_execution_is_shown_under_the_id_that_is_stored(flow_manager: CommandLine) -> None:
    shown = json.loads(flow_manager("show", EXECUTION.upper(), "--json").stdout)

    assert shown["execution_id"] == EXECUTION


@pytest.mark.parametrize("text", ["x", EXECUTION.replace("-", ""), f"{{{EXECUTION}}}"])
def test_what_can_be_no_id_is_refused_as_over_http(text: str, flow_manager: CommandLine) -> None:
    result = flow_manager("show", text)

    assert result.exit_code == ExitCode.INVALID
    assert result.stderr == "error: an execution is named by a UUID, and this is none\n"


def test_the_doctor_finds_a_sound_store_sound(flow_manager: CommandLine) -> None:
    assert flow_manager("doctor").exit_code == ExitCode.OK
    assert json.loads(flow_manager("doctor", "--json").stdout) == {"sound": True, "violations": []}


def test_the_doctor_names_every_violation_and_exits_with_1(flow_manager: CommandLine) -> None:
    flow_manager.reader.broken = [Violation(EXECUTION, "wake.missing", "nothing will move it on")]

    result = flow_manager("doctor")
    as_json = flow_manager("doctor", "--json")

    assert (result.exit_code, as_json.exit_code) == (ExitCode.FAILED, ExitCode.FAILED)
    assert "wake.missing" in result.stdout
    assert json.loads(as_json.stdout)["violations"][0]["code"] == "wake.missing"
