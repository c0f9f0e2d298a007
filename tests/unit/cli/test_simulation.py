from __future__ import annotations

import json
from typing import Any

import pytest

from flow_manager.cli.exits import ExitCode
from tests.unit.cli.conftest import EXECUTION, FLOW, CommandLine

GOOD = {
    "name": "all is well",
    "mocks": {"fetch": [{"data": {"rows": 3}}]},
    "expect": {"status": "completed", "route": ["fetch", "store"]},
}
BAD = {"name": "nothing is well", "expect": {"status": "failed", "route": ["fetch", "fetch"]}}


def flow_with(**fields: Any) -> dict[str, Any]:
    return {"flow": FLOW["flow"] | fields}


# -- simulate


def test_a_flow_is_simulated_without_its_tasks(flow_manager: CommandLine) -> None:
    flow = flow_with(tasks=[{"name": "fetch", "type": "nobody.has_this"}, {"name": "store"}])

    result = flow_manager("simulate", flow_manager.write("flow.json", flow))

    assert result.exit_code == ExitCode.OK
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["status", "completed"] in lines
    assert ["route", "fetch", "->", "store"] in lines
    assert ["without", "mock", "fetch,", "store"] in lines
    assert flow_manager.settings == []


def test_mocks_input_and_time_are_given_by_options(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", flow_with(output="${results.fetch.data.n + input.n}"))
    flow_manager.write("mocks.json", {"fetch": [{"data": {"n": 1}}]})
    now = "2026-05-01T00:00:00Z"

    result = flow_manager(
        "simulate", file, "--mocks", "@mocks.json", "--input", '{"n": 2}', "--now", now, "--json", "--history"
    )

    body = json.loads(result.stdout)
    assert (body["output"], body["started_at"], body["unmocked"]) == (
        3,
        "2026-05-01T00:00:00.000000Z",
        ["store"],
    )
    assert len(body["events"]) == 8


def test_a_whole_simulation_can_be_given(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", {**FLOW, "input": {"n": 1}})
    told = {"mocks": {"fetch": [{"outcome": "failure"}]}, "faults": [{"after": "fetch"}]}

    result = flow_manager("simulate", file, "--json", "--mocks", json.dumps(told))

    body = json.loads(result.stdout)
    assert result.exit_code == ExitCode.OK
    assert body["status"] == "failed"
    assert [each["status"] for each in body["attempts"]] == ["lost", "failure"]


def test_a_failure_is_shown_with_its_error(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", FLOW)
    mocks = {"fetch": [{"error": {"code": "shop.gone", "message": "it is gone"}}]}

    result = flow_manager("simulate", file, "--mocks", json.dumps(mocks))

    assert ["error", "shop.gone:", "it", "is", "gone"] in [
        line.split() for line in result.stdout.splitlines()
    ]


def test_what_it_waits_for_is_shown(flow_manager: CommandLine) -> None:
    tasks = [{"name": "fetch", "type": "signal"}, {"name": "store"}]

    result = flow_manager("simulate", flow_manager.write("flow.json", flow_with(tasks=tasks)))

    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["status", "waiting"] in lines
    assert ["waits", "for", "fetch:", "fetch"] in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mocks", '{"fetsh": [{}]}'], "did you mean 'fetch'?"),
        (["--mocks", "[]"], "'--mocks': it must be a JSON object"),
        (["--mocks", "{"], "not JSON"),
        (["--input", "3"], "'--input': it must be a JSON object"),
        (["--now", "tomorrow"], "#/now"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    arguments: list[str], words: str, flow_manager: CommandLine
) -> None:
    result = flow_manager("simulate", flow_manager.write("flow.json", FLOW), *arguments)

    assert (result.exit_code, result.stdout) == (ExitCode.INVALID, "")
    assert words in result.stderr


def test_a_wrong_flow_is_shown_at_its_place(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", flow_with(start_task="fetsh"))

    for command in ("simulate", "test", "whatif"):
        result = flow_manager(command, file)
        assert result.exit_code == ExitCode.INVALID
        assert "error[unknown-task]" in result.stderr


# -- test


def test_cases_that_pass_are_told_with_their_coverage(flow_manager: CommandLine) -> None:
    result = flow_manager("test", flow_manager.write("flow.json", flow_with(tests=[GOOD])))

    assert result.exit_code == ExitCode.OK
    assert result.stdout.splitlines() == [
        "passed  flow.json: all is well",
        "flow.json: 1 of 1 cases passed, 1 of 2 ways exercised",
        "        not exercised: fetch -(fetched does not match)-> end",
    ]


def test_a_case_that_fails_is_told_with_its_differences(flow_manager: CommandLine) -> None:
    result = flow_manager("test", flow_manager.write("flow.json", flow_with(tests=[GOOD, BAD])))

    assert result.exit_code == ExitCode.FAILED
    assert result.stdout.splitlines()[1:4] == [
        "FAILED  flow.json: nothing is well",
        '        #/status: expected "failed", was "completed"',
        '        #/route/1: expected "fetch", was "store"',
    ]


def test_a_case_that_cannot_be_run_is_shown_at_its_place(flow_manager: CommandLine) -> None:
    case = {**GOOD, "mocks": {"fetsh": [{}]}}
    good = flow_manager.write("good.json", flow_with(tests=[GOOD]))

    for document in (flow_with(tests=[case]), flow_with(tests=[case])["flow"]):
        result = flow_manager("test", flow_manager.write("flow.json", document), good)
        assert result.exit_code == ExitCode.INVALID
        assert " --> flow.json:" in result.stderr
        assert "tests/0/mocks/fetsh" in result.stderr
        assert "passed  good.json" in result.stdout


def test_results_are_printed_as_json(flow_manager: CommandLine) -> None:
    result = flow_manager("test", "--json", flow_manager.write("flow.json", flow_with(tests=[GOOD, BAD])))

    (body,) = json.loads(result.stdout)
    assert (body["file"], body["passed"]) == ("flow.json", False)
    assert [case["passed"] for case in body["cases"]] == [True, False]
    assert len(body["coverage"]["not_exercised"]) == 1


# -- whatif


def test_the_newest_executions_of_a_flow_are_compared(flow_manager: CommandLine) -> None:
    result = flow_manager("whatif", flow_manager.write("flow.json", FLOW))

    assert result.exit_code == ExitCode.OK
    assert result.stdout == "1 execution: same route 1, another route 0, a result missing 0\n"
    assert result.stderr == "no differences\n"
    assert flow_manager.reader.is_closed


def test_a_difference_is_shown_with_its_place(flow_manager: CommandLine) -> None:
    tasks = [{"name": "fetch"}, {"name": "store"}, {"name": "check"}]
    conditions = [
        {"name": "a", "source_task": "fetch", "target_task_success": "check"},
        {"name": "b", "source_task": "check", "target_task_success": "store"},
    ]
    file = flow_manager.write("flow.json", flow_with(tasks=tasks, conditions=conditions))

    result = flow_manager("whatif", file, "--against", EXECUTION)

    assert "a result missing 1" in result.stdout
    assert (
        "after fetch (task run 1): store was recorded, now check; no result of check, visit 1"
        in result.stdout
    )


def test_comparisons_are_printed_as_json(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", flow_with(conditions=[]))

    result = flow_manager("whatif", file, "--json", "--against", EXECUTION)

    body = json.loads(result.stdout)
    assert body["summary"]["differs"] == 1
    assert body["executions"] == [
        {
            "execution_id": EXECUTION,
            "outcome": "differs",
            "difference": {"task": "fetch", "run": 1, "recorded": "store", "new": "end: completed"},
        }
    ]


def test_a_flow_that_nobody_executed_has_nothing_to_compare(flow_manager: CommandLine) -> None:
    result = flow_manager("whatif", flow_manager.write("flow.json", FLOW), "--flow", "other", "--limit", "3")

    assert result.stdout.startswith("0 executions")


def test_an_id_that_is_none_is_refused(flow_manager: CommandLine) -> None:
    result = flow_manager("whatif", flow_manager.write("flow.json", FLOW), "--against", "seven")

    assert result.exit_code == ExitCode.INVALID
