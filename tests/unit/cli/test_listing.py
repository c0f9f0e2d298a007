from __future__ import annotations

import json

import pytest

from flow_manager.cli.exits import ExitCode
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.ports.search import Filter, Found
from tests.unit.cli.conftest import EXECUTION, SUMMARY, CommandLine


def test_the_list_has_a_line_for_each_execution(flow_manager: CommandLine) -> None:
    result = flow_manager("list")

    assert result.exit_code == ExitCode.OK
    assert result.stdout.splitlines()[1].split() == [
        EXECUTION, "flow123", "completed", "2026-01-14", "10:30:00Z", "2026-01-14", "10:30:02Z"
    ]  # fmt: skip
    assert flow_manager.reader.asked == [(Filter(), None, 50)]
    assert flow_manager.reader.is_closed


def test_the_list_can_be_narrowed(flow_manager: CommandLine) -> None:
    narrow = ["--limit", "3", "--flow-id", "flow123", "--version", "2", "--status", "failed", "--q", "x"]
    labels = ["--label", "team:shop", "--label", "tier:1", "--error", "task.", "--reason", "code"]

    result = flow_manager("list", *narrow, *labels, "--json")

    assert json.loads(result.stdout)["executions"][0]["execution_id"] == EXECUTION
    ((wanted, before, limit),) = flow_manager.reader.asked
    assert (before, limit) == (None, 3)
    assert wanted == Filter(
        flow_id="flow123",
        version=2,
        status=ExecutionStatus.FAILED,
        labels=(("team", "shop"), ("tier", "1")),
        error="task.",
        reason=WakeReason.CODE,
        text="x",
    )


def test_a_short_look_is_gone_on_with_until_the_page_is_full(flow_manager: CommandLine) -> None:
    flow_manager.reader.looks = [
        Found([], EXECUTION),
        Found([SUMMARY], EXECUTION),
        Found([SUMMARY], EXECUTION),
    ]

    result = flow_manager("list", "--limit", "2")

    assert len(result.stdout.splitlines()) == 3
    assert flow_manager.reader.asked[1:] == [(Filter(), EXECUTION, 2), (Filter(), EXECUTION, 1)]


def test_a_cursor_leads_on(flow_manager: CommandLine) -> None:
    flow_manager.reader.looks = [Found([SUMMARY], EXECUTION), Found([], None)]
    shown = flow_manager("list", "--limit", "1")
    cursor = shown.stderr.split()[-1]

    result = flow_manager("list", "--cursor", cursor)

    assert shown.stderr == f"there are more: --cursor {cursor}\n"
    assert (result.exit_code, result.stderr) == (ExitCode.OK, "no executions\n")
    assert flow_manager.reader.asked[1] == (Filter(), EXECUTION, 50)
    assert flow_manager("list", "--cursor", "forged").exit_code == ExitCode.INVALID


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--limit", "1001"], ["--status", "gone"], ["--reason", "x"]]
)
def test_a_list_that_cannot_be_is_a_usage_error(arguments: list[str], flow_manager: CommandLine) -> None:
    assert flow_manager("list", *arguments).exit_code == ExitCode.INVALID


def test_everything_that_cannot_be_read_is_named(flow_manager: CommandLine) -> None:
    result = flow_manager("list", "--version", "1", "--since", "today", "--label", "x")

    assert result.exit_code == ExitCode.INVALID
    assert [line.split(":")[0] for line in result.stderr.splitlines()[1:]] == [
        "  --since", "  --version", "  --label"
    ]  # fmt: skip
