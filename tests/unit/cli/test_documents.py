from __future__ import annotations

import json
from typing import Any

import pytest

from flow_manager.cli.exits import ExitCode
from tests.unit.cli.conftest import FLOW, CommandLine


def changed(**fields: Any) -> dict[str, Any]:
    return {"flow": FLOW["flow"] | fields}


def test_a_valid_flow_is_said_to_be_valid(flow_manager: CommandLine) -> None:
    result = flow_manager("validate", flow_manager.write("flow.json", FLOW))

    assert result.exit_code == ExitCode.OK
    assert result.stdout == "flow.json is valid: flow123, tasks: fetch, store\n"


def test_every_error_is_shown_at_its_place(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", changed(start_task="fetsh", tasks=[{"name": "fetch"}], timeout=0))

    result = flow_manager("validate", file)

    assert (result.exit_code, result.stdout) == (ExitCode.INVALID, "")
    assert " --> flow.json:5:" in result.stderr
    assert "error[unknown-task]" in result.stderr
    assert "at #/flow/start_task" in result.stderr
    assert "at #/flow/timeout" in result.stderr
    assert "error: flow.json is not a valid flow: " in result.stderr


def test_warnings_alone_are_fine(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", changed(conditions=[]))

    result = flow_manager("validate", file)

    assert result.exit_code == ExitCode.OK
    assert "warning[unreachable]" in result.stderr
    assert "flow.json is valid" in result.stdout


def test_text_that_is_not_json_is_shown_at_its_line(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", '{"flow": {\n  "id": "a",\n}}')

    result = flow_manager("validate", file)

    assert result.exit_code == ExitCode.INVALID
    assert " --> flow.json:" in result.stderr
    assert "^" in result.stderr


def test_bytes_that_are_not_text_are_refused(flow_manager: CommandLine) -> None:
    (flow_manager.folder / "flow.json").write_bytes(b'{"flow": "\xff\xfe"}')

    result = flow_manager("validate", "flow.json")

    assert result.exit_code == ExitCode.INVALID
    assert "not-utf8" in result.stderr


@pytest.mark.parametrize("text", ["", "[]", "1", '"x"', "null"])
def test_what_is_no_flow_at_all_is_refused(text: str, flow_manager: CommandLine) -> None:
    assert flow_manager("validate", flow_manager.write("flow.json", text)).exit_code == ExitCode.INVALID
    assert flow_manager("validate", "-", stdin=text).exit_code == ExitCode.INVALID


@pytest.mark.parametrize(
    ("document", "is_valid"), [(FLOW, True), (FLOW["flow"], True), (changed(start_task="fetsh"), False)]
)
def test_as_json_it_answers_like_the_service(
    document: object, is_valid: bool, flow_manager: CommandLine
) -> None:
    result = flow_manager("validate", "--json", flow_manager.write("flow.json", document))

    body = json.loads(result.stdout)
    assert body["valid"] is is_valid
    assert isinstance(body["warnings"], list)
    assert [error["code"] for error in body.get("errors", [])] == ([] if is_valid else ["unknown-task"])
    assert result.exit_code == (ExitCode.OK if is_valid else ExitCode.INVALID)
    assert result.stderr == ""


def test_beside_a_flow_there_may_be_what_http_accepts(flow_manager: CommandLine) -> None:
    file = flow_manager.write("flow.json", FLOW | {"input": {}, "labels": {"team": "shop"}, "x-note": [1]})

    assert flow_manager("validate", file).exit_code == ExitCode.OK


def test_what_is_wrong_beside_a_flow_and_in_it_comes_at_once(flow_manager: CommandLine) -> None:
    document = changed(start_task="fetsh") | {"inputs": {}, "labels": {"a": 1}}
    file = flow_manager.write("flow.json", document)

    errors = json.loads(flow_manager("validate", "--json", file).stdout)["errors"]

    assert [(error["pointer"], error["code"]) for error in errors] == [
        ("#/inputs", "unknown-field"),
        ("#/labels/a", "wrong-type"),
        ("#/flow/start_task", "unknown-task"),
    ]


def test_the_schema_is_a_json_schema(flow_manager: CommandLine) -> None:
    schema = json.loads(flow_manager("schema").stdout)

    assert "2020-12" in schema["$schema"]


@pytest.mark.parametrize(("arguments", "start"), [([], "flowchart"), (["--format", "dot"], "digraph")])
def test_a_flow_is_drawn(arguments: list[str], start: str, flow_manager: CommandLine) -> None:
    result = flow_manager("graph", flow_manager.write("flow.json", FLOW), *arguments)

    assert result.exit_code == ExitCode.OK
    assert start in result.stdout.splitlines()[0]
    assert "fetch" in result.stdout


def test_an_invalid_flow_is_not_drawn(flow_manager: CommandLine) -> None:
    result = flow_manager("graph", flow_manager.write("flow.json", changed(start_task="fetsh")))

    assert (result.exit_code, result.stdout) == (ExitCode.INVALID, "")
    assert "unknown-task" in result.stderr


def test_the_tasks_are_listed(flow_manager: CommandLine) -> None:
    result = flow_manager("tasks", "--task-module", "shop")

    listed = [line.split()[:2] for line in result.stdout.splitlines()[1:]]
    assert [each for each in listed if each[1] != "engine"] == [["fetch", "thread"], ["store", "async"]]
    assert ["for_each", "engine"] in listed
    assert flow_manager.settings[0].task_modules == ("shop",)
    described = {each["name"]: each for each in json.loads(flow_manager("tasks", "--json").stdout)}
    assert described["fetch"]["description"] == "Fetches data."
