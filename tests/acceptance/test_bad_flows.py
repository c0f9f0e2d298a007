"""Flow definitions that are readable and wrong, sent to a running service."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.bad_input import (
    FLOW_PATHS,
    Refusing,
    as_body,
    check_log,
    codes_of,
    kind_of,
    refusing_service,
)
from tests.support.documents import document, task
from tests.support.raw_http import post

both_paths = pytest.mark.parametrize("path", FLOW_PATHS)

TASK = "#/flow/tasks/0"
RETRY = f"{TASK}/retry"
CONDITION = "#/flow/conditions/0"

DELETED = object()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing_service(tmp_path_factory.mktemp("bad-flows")) as refusing:
        yield refusing


VALID = document(task("nothing", retry={"max_attempts": 2}), task("plain"), task("complain", {"text": "no"}))


def changed(changes: Mapping[str, object]) -> dict[str, Any]:
    """A valid flow of three tasks and two conditions with other values at these pointers."""
    made = copy.deepcopy(VALID)
    for pointer, value in changes.items():
        *steps, last = pointer.removeprefix("#/").split("/")
        within: Any = made
        for step in steps:
            within = within[int(step) if isinstance(within, list) else step]
        if value is DELETED:
            del within[last]
        else:
            within[int(last) if isinstance(within, list) else last] = value
    return made


@dataclass(frozen=True)
class Row:
    """What is changed in the valid flow, and which code is told: there, or at `pointer`."""

    case: str
    changes: Mapping[str, object]
    code: str
    pointer: str = ""

    def __str__(self) -> str:
        return self.case.encode("ascii", "backslashreplace").decode()[:80]

    @property
    def expected(self) -> list[tuple[str, str]]:
        return [(self.pointer or next(iter(self.changes)), self.code)]


def at(case: str, pointer: str, value: object, code: str, told: str = "") -> Row:
    return Row(f"{case} @ {pointer}", {pointer: value}, code, told)


def loop(*targets: str) -> list[dict[str, str]]:
    """Conditions by which task 1 always leads to the first target, task 2 to the second and so on."""
    return [
        {
            "name": f"c{number}",
            "source_task": f"task{number}",
            "target_task_success": target,
            "target_task_failure": target,
        }
        for number, target in enumerate(targets, 1)
    ]


UNKNOWN_FIELDS = [
    at("B01 a typing error", f"{TASK}/retires", {}, "unknown-field"),
    at("B01 a field of other products", f"{TASK}/next", "task2", "unknown-field"),
    at("B01 in the flow", "#/flow/start", "task1", "unknown-field"),
    at("B01 in a condition", f"{CONDITION}/target", "end", "unknown-field"),
    at("B01 in a retry", f"{RETRY}/attempts", 3, "unknown-field"),
    at("B01 a special name", "#/flow/__class__", 1, "unknown-field"),
    at("B01 a long name", "#/flow/" + "x" * 9999, 1, "unknown-field", "#/flow/" + "x" * 61 + "..."),
    at("B01 a script as a name", "#/flow/<script>", 1, "unknown-field", "#/flow/%3Cscript%3E"),
]
REFERENCES = [
    at("B02 no start", "#/flow/start_task", DELETED, "required"),
    at("B02 no such start", "#/flow/start_task", "task9", "unknown-task"),
    at("B02 the end as start", "#/flow/start_task", "end", "unknown-task"),
    at("B02 a number as start", "#/flow/start_task", 1, "wrong-type"),
    at("B02 null as start", "#/flow/start_task", None, "wrong-type"),
    at("B03 no such target", f"{CONDITION}/target_task_success", "task9", "unknown-task"),
    at("B03 no such target", f"{CONDITION}/target_task_failure", "End", "unknown-task"),
    at("B03 no such source", f"{CONDITION}/source_task", "task9", "unknown-task"),
    at("B03 the end as source", f"{CONDITION}/source_task", "end", "unknown-task"),
    at("B03 no such outcome", f"{CONDITION}/outcome", "succes", "unknown-value"),
    at("B10 no such type", f"{TASK}/type", "nothin", "unknown-task"),
    at("B10 a module as type", f"{TASK}/type", "os.system", "unknown-task"),
    Row(
        "B10 a name that is no type",
        {f"{TASK}/type": DELETED},
        "unknown-task",
        f"{TASK}/name",
    ),
]
LOOPS = [
    Row("B05 to itself", {"#/flow/conditions": loop("task1", "end")}, "no-exit", TASK),
    Row("B05 two in a ring", {"#/flow/conditions": loop("task2", "task1")}, "no-exit", TASK),
    Row("B05 three in a ring", {"#/flow/conditions": loop("task2", "task3", "task1")}, "no-exit", TASK),
    Row(
        "B05 a ring behind",
        {"#/flow/conditions": loop("task2", "task3", "task2")},
        "no-exit",
        "#/flow/tasks/1",
    ),
    at("B06 a counter above the limit", "#/flow/max_task_runs", 10_001, "unbounded-loop"),
    at("B06 a counter of 2^63 - 1", "#/flow/max_task_runs", 2**63 - 1, "unbounded-loop"),
    at("B06 no passes", "#/flow/max_task_runs", 0, "out-of-range"),
    at("B06 -1 passes", "#/flow/max_task_runs", -1, "out-of-range"),
    at("B06 a fraction", "#/flow/max_task_runs", 1.5, "wrong-type"),
    at("B06 no counter", "#/flow/max_task_runs", None, "wrong-type"),
]
SIZES = [
    at("B09 no tasks", "#/flow/tasks", [], "required"),
    at("B09 tasks that are none", "#/flow/tasks", {}, "wrong-type"),
    Row("B09 a task that is none", {"#/flow/tasks/2": "task3", "#/flow/conditions": []}, "wrong-type"),
    at("B09 10,001 tasks", "#/flow/tasks", [{"name": f"t{n}"} for n in range(10_001)], "too-many"),
    at("B09 40,001 conditions", "#/flow/conditions", [{"name": "c"}] * 40_001, "too-many"),
    at("B09 65 labels", "#/flow/labels", {f"l{n}": "" for n in range(65)}, "too-many"),
    at("B09 65 codes", f"{RETRY}/retry_on", ["task.failed"] * 65, "too-many"),
    at("B09 8,193 characters", "#/flow/description", "x" * 8193, "too-long"),
    at("B09 257 characters", "#/flow/name", "x" * 257, "too-long"),
]
INPUTS = [
    at("B11 no input", "#/flow/tasks/2/input", DELETED, "schema", "#/flow/tasks/2/input/text"),
    at("B11 a field too few", "#/flow/tasks/2/input", {}, "schema", "#/flow/tasks/2/input/text"),
    at("B11 a wrong type", "#/flow/tasks/2/input/text", ["no"], "schema"),
    at("B11 no object", "#/flow/tasks/2/input", "no", "wrong-type"),
]
DURATIONS = [
    at(f"B12 {value!r}", f"{TASK}/timeout", value, code)
    for value, code in [
        (0, "out-of-range"),
        (-1, "out-of-range"),
        (1e99, "out-of-range"),
        (1e-9, "out-of-range"),
        ("0s", "out-of-range"),
        ("400d", "out-of-range"),
        ("P400D", "out-of-range"),
        (400 * 86400, "out-of-range"),
        ("9" * 60 + "d", "out-of-range"),
        ("5 parsecs", "bad-duration"),
        ("PT", "bad-duration"),
        ("P1Y", "bad-duration"),
        ("-5m", "bad-duration"),
        ("1e3s", "bad-duration"),
        ("٣s", "bad-duration"),
        ("5m\n", "bad-duration"),
        ("", "bad-duration"),
        ("1" * 100_000 + "s", "bad-duration"),
        (True, "bad-duration"),
        ([1], "bad-duration"),
    ]
]
for pointer in ("#/flow/timeout", f"{RETRY}/delay", f"{RETRY}/max_delay", f"{RETRY}/budget"):
    DURATIONS += [at("B12 0", pointer, 0, "out-of-range"), at("B12 PT", pointer, "PT", "bad-duration")]
RETRIES = [
    at("B13 no attempts", f"{RETRY}/max_attempts", 0, "out-of-range"),
    at("B13 10^9 attempts", f"{RETRY}/max_attempts", 10**9, "out-of-range"),
    at("B13 attempts in words", f"{RETRY}/max_attempts", "3", "wrong-type"),
    at("B13 true attempts", f"{RETRY}/max_attempts", True, "wrong-type"),
    at("B13 backoff 0", f"{RETRY}/backoff", 0, "out-of-range"),
    at("B13 backoff 0.5", f"{RETRY}/backoff", 0.5, "out-of-range"),
    at("B13 backoff 1e308", f"{RETRY}/backoff", 1e308, "out-of-range"),
    at("B13 no such jitter", f"{RETRY}/jitter", "half", "unknown-value"),
    at("B13 no such code", f"{RETRY}/never_on", ["Task Failed"], "bad-name", f"{RETRY}/never_on/0"),
    at("B13 a retry that is none", RETRY, 3, "wrong-type"),
    Row(
        "B13 max_delay shorter than delay",
        {f"{RETRY}/max_delay": "1s", f"{RETRY}/delay": "2s"},
        "order",
    ),
    at("B13 max_delay shorter than the delay of default", f"{RETRY}/max_delay", "0.5s", "order"),
]
BAD_NAMES = {
    "a slash": "a/b",
    "a space": "a b",
    "two dots": "..",
    "an emoji": "a😀",
    "300 characters": "a" * 300,
    "129 characters": "a" * 129,
    "nothing": "",
    "a digit first": "1a",
    "a new line at the end": "a\n",
    "A20 composed": "caf\u00e9",
    "A20 decomposed": "cafe\u0301",
    "A20 another alphabet": "t\u0430sk1",
    "A20 right to left": "a\u202eb",
    "A20 zero width": "a\u200bb",
    "A20 wide letters": "\uff54ask1",
    "a script": "<script>",
    "an escape": "a\x1b[31m",
}
NAMES = [
    Row(
        f"B17 {case}",
        {"#/flow/tasks/2/name": name, "#/flow/conditions/1/target_task_success": "end"},
        "bad-name",
    )
    for case, name in BAD_NAMES.items()
]
NAMES += [at(f"B17 {case}", f"{CONDITION}/name", name, "bad-name") for case, name in BAD_NAMES.items()]
NAMES += [
    at("B17 an id with a slash", "#/flow/id", "../flow", "bad-name"),
    at("B17 an id of 300 characters", "#/flow/id", "a" * 300, "bad-name"),
    at("B17 a label with a space", "#/flow/labels", {"a b": ""}, "bad-name", "#/flow/labels/a%20b"),
    Row(
        "B17 they differ by case only",
        {"#/flow/tasks/2/name": "TASK1", "#/flow/conditions/1/target_task_success": "TASK1"},
        "ambiguous-name",
    ),
    Row(
        "B17 a name twice",
        {"#/flow/tasks/2/name": "task1", "#/flow/conditions/1/target_task_success": "task1"},
        "duplicate-name",
    ),
    at("B17 a condition twice", "#/flow/conditions/1/name", "condition1", "duplicate-name"),
    Row(
        "B17 a task called end",
        {"#/flow/tasks/2/name": "end", "#/flow/conditions/1/target_task_success": "end"},
        "reserved-name",
    ),
    at("C20 control characters in a title", "#/flow/name", "a\r\nb\x1b[31m", "bad-text"),
    at("C20 an escape in a description", "#/flow/description", "a\x1b[31m", "bad-text"),
    at("C20 a line separator in a label", "#/flow/labels", {"a": "b\u2028c"}, "bad-text", "#/flow/labels/a"),
]
ROWS = UNKNOWN_FIELDS + REFERENCES + LOOPS + SIZES + INPUTS + DURATIONS + RETRIES + NAMES


@both_paths
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_wrong_flow_is_refused_with_its_one_problem_at_its_place(
    refusing: Refusing, path: str, row: Row
) -> None:
    problem = refusing.refused(post(path, as_body(changed(row.changes))))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == row.expected
    assert problem.get("valid") is (False if path == "/flow/validate" else None)


@both_paths
@pytest.mark.parametrize("flow", [None, [], "flow", 1, True])
def test_a_flow_that_is_no_object_is_refused(refusing: Refusing, path: str, flow: object) -> None:
    problem = refusing.refused(post(path, as_body({"flow": flow})))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == [("#/flow", "wrong-type")]


@both_paths
def test_a_bare_flow_has_its_problems_at_its_own_places(refusing: Refusing, path: str) -> None:
    bare = changed({f"{TASK}/retires": {}})["flow"]

    problem = refusing.refused(post(path, as_body(bare)))

    assert codes_of(problem) == [("#/tasks/0/retires", "unknown-field")]
    assert problem["errors"][0]["hint"] == "did you mean 'retry'?"


@both_paths
def test_an_empty_object_is_told_every_field_that_is_missing(refusing: Refusing, path: str) -> None:
    problem = refusing.refused(post(path, b"{}"))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == [
        (f"#/{field}", "required") for field in ("id", "name", "start_task", "tasks")
    ]


@both_paths
def test_all_problems_are_told_at_once_in_the_order_of_the_document(refusing: Refusing, path: str) -> None:
    changes = {
        f"{CONDITION}/outcome": "succes",
        f"{RETRY}/max_attempts": 0,
        "#/flow/start_task": "task9",
        "#/flow/tasks/1/type": "plane",
    }

    problem = refusing.refused(post(path, as_body({**changed(changes), "labels": {"a": 1}})))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == [
        ("#/labels/a", "wrong-type"),
        ("#/flow/start_task", "unknown-task"),
        (f"{RETRY}/max_attempts", "out-of-range"),
        ("#/flow/tasks/1/type", "unknown-task"),
        (f"{CONDITION}/outcome", "unknown-value"),
    ]
    assert problem["detail"] == "5 problems found"


@both_paths
@pytest.mark.parametrize("count", [101, 10_000])
def test_at_most_a_hundred_problems_are_told(refusing: Refusing, path: str, count: int) -> None:
    tasks = [{"name": f"task{number}", "type": "nothin"} for number in range(1, count + 1)]

    problem = refusing.refused(post(path, as_body(changed({"#/flow/tasks": tasks}))))

    assert len(problem["errors"]) == 100
    assert problem["errors_truncated"] is True


@both_paths
def test_no_more_of_a_long_text_comes_back_than_helps(refusing: Refusing, path: str) -> None:
    changes = {
        f"{CONDITION}/target_task_success": "\x1b[31m" + "x" * 100_000,
        f"{TASK}/type": "nothing" * 18,
        f"{TASK}/timeout": "<script>" * 9,
        "#/flow/" + "<n>" * 9999: 1,
    }

    problem = refusing.refused(post(path, as_body(changed(changes))))

    assert {code for _, code in codes_of(problem)} >= {"unknown-task", "bad-duration"}
    assert len(as_body(problem)) < 3000


WARNED = [
    Row("B04 no route leads there", {"#/flow/conditions": loop("end")}, "unreachable", "#/flow/tasks/1"),
    Row(
        "B13 a catch-all before a particular outcome",
        {
            "#/flow/conditions": [
                {"name": "any", "source_task": "task1", "outcome": "failure", "target_task_failure": "task2"},
                {
                    "name": "late",
                    "source_task": "task1",
                    "outcome": "timeout",
                    "target_task_failure": "task2",
                },
            ]
        },
        "never-matches",
        "#/flow/conditions/1/outcome",
    ),
]


@pytest.mark.parametrize("row", WARNED, ids=str)
def test_what_is_only_odd_is_a_warning(refusing: Refusing, row: Row) -> None:
    body = as_body(changed(row.changes))

    answer = refusing.accepted(post("/flow/validate", body))
    executed = refusing.accepted(post("/flow/execute", body))

    assert answer["valid"] is True
    assert set(row.expected) <= {(each["pointer"], each["code"]) for each in answer["warnings"]}
    assert executed["status"] == "completed"


POISON = {
    "line breaks": 'a\r\n{"level":"error"}\u2028b',
    "escapes": "\x1b[31m\x07\x9b2J",
    "a script": "<script>alert(1)</script>",
    "a link": "javascript:alert(1)",
    "a formula": "=cmd()|' /C calc'!A0",
    "right to left": "a\u202eb",
    "900,000 characters": "x" * 900_000,
}


@pytest.mark.parametrize("case", POISON)
def test_c20_what_a_task_says_is_data_wherever_it_appears(refusing: Refusing, case: str) -> None:
    flow = document(task("complain", {"text": POISON[case]}))

    answer = refusing.accepted(post("/flow/execute", as_body(flow)))

    assert answer["status"] == "failed"
    assert answer["error"]["message"] == POISON[case][: len(answer["error"]["message"])]
    assert len(answer["error"]["message"]) == min(len(POISON[case]), 4096)
    check_log(refusing.service.log())


@pytest.mark.parametrize(
    "text", ["<script>", "javascript:alert(1)", "=cmd()", "a\u202eb\u200b", "caf\u00e9", "😀"]
)
def test_c20_a_title_is_any_text_of_one_line(refusing: Refusing, text: str) -> None:
    flow = changed({"#/flow/name": text, "#/flow/labels": {"a": text}})

    answer = refusing.accepted(post("/flow/execute", as_body(flow)))

    assert answer["labels"] == {"a": text}
