from __future__ import annotations

import json

import pytest

from flow_manager.cli.exits import ExitCode
from tests.unit.cli.conftest import COMPLETED, EXECUTION, FAILED, CommandLine

NOBODY = "http://127.0.0.1:9"


def test_every_event_is_a_line(flow_manager: CommandLine) -> None:
    result = flow_manager("tail", EXECUTION)

    assert result.exit_code == ExitCode.OK
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(number + 1) for number in range(len(COMPLETED))]
    assert (lines[0][2], lines[-1][2]) == ("execution_started", "execution_ended")
    assert flow_manager.reader.is_closed


def test_as_json_every_event_is_an_object(flow_manager: CommandLine) -> None:
    flow_manager.reader.events = FAILED

    result = flow_manager("tail", EXECUTION, "--json")

    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in told] == [1, 2, 3, 4, 5]
    assert told[-1]["error"]["code"] == "task.failed"
    assert result.exit_code == ExitCode.FAILED


@pytest.mark.parametrize(
    "arguments", [["x"], [EXECUTION[:-1] + "2"], [EXECUTION, "--url", "file:///etc/passwd"]]
)
def test_what_cannot_be_followed_is_an_error(arguments: list[str], flow_manager: CommandLine) -> None:
    result = flow_manager("tail", *arguments)

    assert (result.exit_code, result.stdout) == (ExitCode.INVALID, "")


@pytest.mark.parametrize(
    ("options", "variable", "code", "said"),
    [
        ([], "", ExitCode.OK, ""),
        ([], NOBODY, ExitCode.UNAVAILABLE, "does not answer"),
        (["--url", NOBODY], "", ExitCode.UNAVAILABLE, "does not answer"),
        (["--database", "x.db"], NOBODY, ExitCode.OK, ""),
        (["--database", "x.db", "--url", NOBODY], "", ExitCode.INVALID, "give either --url or --database"),
    ],
)
def test_an_option_wins_over_the_variable(
    options: list[str], variable: str, code: ExitCode, said: str, flow_manager: CommandLine
) -> None:
    result = flow_manager("tail", EXECUTION, *options, env={"FLOW_MANAGER_URL": variable} if variable else {})

    assert result.exit_code == code
    assert said in result.stderr
    assert (result.stdout != "") is (code is ExitCode.OK)
