from __future__ import annotations

import copy
import hashlib
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from flow_manager.core.definition import RetryPolicy
from flow_manager.core.mappings import ValueMapping
from flow_manager.core.parser import FlowParser
from flow_manager.core.values import canonical, read_json
from flow_manager.errors import InvalidFlow, MalformedJson

ROOT = Path(__file__).parents[3]

PLAIN: dict[str, Any] = {
    "id": "unique-flow-id",
    "name": "Flow name",
    "start_task": "one",
    "tasks": [{"name": "one", "description": "First"}, {"name": "two", "description": ""}],
    "conditions": [
        {
            "name": "after_one",
            "description": "",
            "source_task": "one",
            "outcome": "success",
            "target_task_success": "two",
            "target_task_failure": "end",
        }
    ],
}


def changed(**fields: Any) -> dict[str, Any]:
    return {"flow": PLAIN | fields}


def with_task(**fields: Any) -> dict[str, Any]:
    return changed(tasks=[PLAIN["tasks"][0], PLAIN["tasks"][1] | fields])


def with_condition(**fields: Any) -> dict[str, Any]:
    return changed(conditions=[PLAIN["conditions"][0] | fields])


def without(name: str) -> dict[str, Any]:
    return {"flow": {field: value for field, value in PLAIN.items() if field != name}}


def errors_of(document: object) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in FlowParser().check(document).errors]


def hint_of(document: object) -> str | None:
    [error] = FlowParser().check(document).errors
    return error.hint


def written(mapping: ValueMapping | None) -> Any:
    """The value of a mapping without expressions."""
    assert mapping is not None
    return mapping.evaluate({})


def test_the_sample_flow_has_no_errors_and_no_warnings() -> None:
    parser = FlowParser({"task1": None, "task2": None, "task3": None})

    report = parser.check(read_json((ROOT / "sample_flow.json").read_bytes()))

    assert (report.errors, report.warnings, report.truncated) == ((), (), False)
    assert report.flow is not None
    assert (report.flow.id, report.flow.start_task) == ("flow123", "task1")
    assert list(report.flow.tasks) == ["task1", "task2", "task3"]
    assert list(report.flow.conditions_from) == ["task1", "task2"]


def test_a_flow_is_read_with_every_field() -> None:
    flow = FlowParser().parse(
        PLAIN
        | {
            "description": "What it\ndoes",
            "labels": {"team": "data"},
            "timeout": "2h",
            "max_task_runs": 5,
            "tasks": [
                {
                    "name": "one",
                    "type": "http",
                    "input": {"url": "x"},
                    "timeout": 30,
                    "on_lost": "unknown",
                    "optional": True,
                    "retry": {"max_attempts": 3, "delay": "10m", "retry_on": ["http.5"], "jitter": "none"},
                },
                {"name": "two"},
            ],
        }
    )

    one, two = flow.tasks["one"], flow.tasks["two"]
    ten_minutes = timedelta(minutes=10)
    assert (flow.description, flow.labels, flow.timeout) == (
        "What it\ndoes",
        {"team": "data"},
        timedelta(hours=2),
    )
    assert (flow.name, flow.max_task_runs) == ("Flow name", 5)
    assert (one.type, written(one.input), one.timeout) == ("http", {"url": "x"}, timedelta(seconds=30))
    assert (one.on_lost, one.optional) == ("unknown", True)
    assert one.retry == RetryPolicy(3, ten_minutes, 2.0, ten_minutes, "none", None, ("http.5",), ())
    assert (two.type, two.retry) == ("two", RetryPolicy())


def test_missing_targets_mean_the_end() -> None:
    flow = FlowParser().parse(
        changed(conditions=[{"name": "c", "source_task": "one"}, PLAIN["conditions"][0]])
    )

    first = flow.conditions_from["one"][0]
    assert (first.outcome, first.target_task_success, first.target_task_failure) == ("success", "end", "end")


def test_wrapped_or_bare_as_value_text_or_bytes_the_flow_is_the_same() -> None:
    text = json.dumps(PLAIN, indent=3)

    flows = [FlowParser().parse(each) for each in (PLAIN, {"flow": PLAIN}, text, text.encode())]

    assert {flow.digest for flow in flows} == {hashlib.sha256(canonical(PLAIN).encode()).hexdigest()}
    assert {flow.document for flow in flows} == {canonical(PLAIN)}


def test_the_authors_own_fields_are_kept() -> None:
    document = with_task(**{"x-owner": {"team": [1]}})
    document["flow"]["x-note"] = "kept"
    document["x-outside"] = 1

    flow = FlowParser().parse(document)

    assert json.loads(flow.document) == document["flow"]


def test_a_flow_does_not_change_when_its_document_does() -> None:
    document = copy.deepcopy(with_task(input={"a": [1]}))
    flow = FlowParser().parse(document)

    document["flow"]["tasks"][1]["input"]["a"].append(2)

    assert written(flow.tasks["two"].input) == {"a": [1]}


def test_what_is_wrong_with_a_flow_is_raised_with_all_problems() -> None:
    with pytest.raises(InvalidFlow, match="2 problems") as caught:
        FlowParser().parse(changed(id=1, timeout=0))

    assert [problem.pointer for problem in caught.value.problems] == ["#/flow/id", "#/flow/timeout"]


@pytest.mark.parametrize("text", ["", "{", '{"a":1,"a":2}', b"\xff", "\ud800"])
def test_text_that_is_not_json_is_raised_as_that(text: str | bytes) -> None:
    with pytest.raises(MalformedJson):
        FlowParser().parse(text)


@pytest.mark.parametrize(
    ("document", "code", "pointer"),
    [
        (None, "wrong-type", "#"),
        ([], "wrong-type", "#"),
        ("flow", "wrong-type", "#"),
        ({"flow": []}, "wrong-type", "#/flow"),
        ({"flow": None}, "wrong-type", "#/flow"),
        ({"flow": PLAIN, "inputs": {}}, "unknown-field", "#/inputs"),
        (PLAIN | {"taks": []}, "unknown-field", "#/taks"),
        (changed(retries=1), "unknown-field", "#/flow/retries"),
        (with_task(retries=1), "unknown-field", "#/flow/tasks/1/retries"),
        (with_task(**{"a/b~": 1}), "unknown-field", "#/flow/tasks/1/a~1b~0"),
        (with_task(retry={"attempts": 2}), "unknown-field", "#/flow/tasks/1/retry/attempts"),
        (with_condition(target="two"), "unknown-field", "#/flow/conditions/0/target"),
        (without("id"), "required", "#/flow/id"),
        (without("name"), "required", "#/flow/name"),
        (without("start_task"), "required", "#/flow/start_task"),
        (without("tasks"), "required", "#/flow/tasks"),
        (changed(tasks=[]), "required", "#/flow/tasks"),
        (with_condition(source_task=1), "wrong-type", "#/flow/conditions/0/source_task"),
        (changed(id=7), "wrong-type", "#/flow/id"),
        (changed(id="a b"), "bad-name", "#/flow/id"),
        (changed(name="a\nb"), "bad-text", "#/flow/name"),
        (changed(name="a" * 257), "too-long", "#/flow/name"),
        (changed(tasks={}), "wrong-type", "#/flow/tasks"),
        (changed(tasks=PLAIN["tasks"] * 5001), "too-many", "#/flow/tasks"),
        (changed(conditions=PLAIN["conditions"] * 40_001), "too-many", "#/flow/conditions"),
        (changed(conditions=None), "wrong-type", "#/flow/conditions"),
        (changed(labels={"a b": "c"}), "bad-name", "#/flow/labels/a%20b"),
        (changed(labels={"a": 1}), "wrong-type", "#/flow/labels/a"),
        (changed(labels={f"a{each}": "" for each in range(65)}), "too-many", "#/flow/labels"),
        (changed(max_task_runs=0), "out-of-range", "#/flow/max_task_runs"),
        (changed(max_task_runs=10_001), "unbounded-loop", "#/flow/max_task_runs"),
        (changed(max_task_runs=True), "wrong-type", "#/flow/max_task_runs"),
        (changed(timeout="5 parsecs"), "bad-duration", "#/flow/timeout"),
        (with_task(timeout="PT"), "bad-duration", "#/flow/tasks/1/timeout"),
        (with_task(timeout=0), "out-of-range", "#/flow/tasks/1/timeout"),
        (with_task(timeout=-1), "out-of-range", "#/flow/tasks/1/timeout"),
        (with_task(timeout=1e99), "out-of-range", "#/flow/tasks/1/timeout"),
        (with_task(timeout="400d"), "out-of-range", "#/flow/tasks/1/timeout"),
        (with_task(retry={"max_attempts": 0}), "out-of-range", "#/flow/tasks/1/retry/max_attempts"),
        (with_task(retry={"max_attempts": 10**9}), "out-of-range", "#/flow/tasks/1/retry/max_attempts"),
        (with_task(retry={"backoff": 0}), "out-of-range", "#/flow/tasks/1/retry/backoff"),
        (with_task(retry={"backoff": 0.99}), "out-of-range", "#/flow/tasks/1/retry/backoff"),
        (with_task(retry={"backoff": True}), "wrong-type", "#/flow/tasks/1/retry/backoff"),
        (with_task(retry={"delay": 9, "max_delay": 8}), "order", "#/flow/tasks/1/retry/max_delay"),
        (with_task(retry={"never_on": [""]}), "bad-name", "#/flow/tasks/1/retry/never_on/0"),
        (with_task(retry=3), "wrong-type", "#/flow/tasks/1/retry"),
        (with_task(on_lost="maybe"), "unknown-value", "#/flow/tasks/1/on_lost"),
        (with_task(optional="yes"), "wrong-type", "#/flow/tasks/1/optional"),
        (with_task(input=[1]), "wrong-type", "#/flow/tasks/1/input"),
        (with_task(description="\x00"), "nul-character", "#/flow/tasks/1/description"),
        (with_task(input={"a": [float("nan")]}), "number-not-finite", "#/flow/tasks/1/input/a/0"),
        (with_task(input={"a": (1,)}), "wrong-type", "#/flow/tasks/1/input/a"),
        (with_task(input={"a": 2**63}), "integer-out-of-range", "#/flow/tasks/1/input/a"),
        (with_task(input={"a": "\ud800"}), "lone-surrogate", "#/flow/tasks/1/input/a"),
        (with_condition(outcome="succes"), "unknown-value", "#/flow/conditions/0/outcome"),
    ],
)
def test_a_fault_is_told_at_its_place(document: object, code: str, pointer: str) -> None:
    assert errors_of(document) == [(code, pointer)]


@pytest.mark.parametrize(
    "name", ["a b", "a/b", "..", "😀", "é", "e\u0301", "a\u200bb", "\u202ea", "1st", "", "a" * 300]
)
def test_a_bad_name_is_called_that(name: str) -> None:
    parser = FlowParser({"one": None, "two": None})

    report = parser.check(changed(tasks=[*PLAIN["tasks"], {"name": name}]))

    assert [(problem.code, problem.pointer) for problem in report.errors] == [
        ("bad-name", "#/flow/tasks/2/name")
    ]


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        (with_task(retrys={}), "did you mean 'retry'?"),
        (with_condition(target_task_sucess="two"), "did you mean 'target_task_success'?"),
        (with_condition(outcome="succes"), "did you mean 'success'?"),
        (changed(strat_task="one"), "did you mean 'start_task'?"),
        ({"flow": PLAIN, "flo": 1}, "did you mean 'flow'?"),
    ],
)
def test_the_nearest_name_is_suggested(document: object, hint: str) -> None:
    assert hint_of(document) == hint


def test_all_problems_are_told_at_once_in_the_order_of_the_document() -> None:
    document = {
        "x": 1,
        "flow": {
            "start_task": "tow",
            "conditions": [{"name": "c", "source_task": "one", "outcome": 1}],
            "tasks": [{"retry": {"delay": "x"}, "name": "one"}, {"timeout": 0}],
            "name": "A",
            "id": "a",
        },
    }

    assert errors_of(document) == [
        ("unknown-field", "#/x"),
        ("unknown-task", "#/flow/start_task"),
        ("wrong-type", "#/flow/conditions/0/outcome"),
        ("bad-duration", "#/flow/tasks/0/retry/delay"),
        ("out-of-range", "#/flow/tasks/1/timeout"),
        ("required", "#/flow/tasks/1/name"),
    ]


def test_at_most_a_hundred_errors_are_listed() -> None:
    exactly = FlowParser().check(changed(**{f"field{each}": 1 for each in range(100)}))
    beyond = FlowParser().check(changed(**{f"field{each}": 1 for each in range(101)}))

    assert (len(exactly.errors), exactly.truncated) == (100, False)
    assert (len(beyond.errors), beyond.truncated) == (100, True)


def test_an_answer_repeats_little_of_a_long_input() -> None:
    long = "n" * 100_000
    document = changed(start_task=long, **{long: 1})

    for problem in FlowParser().check(document).errors:
        assert len(problem.pointer) + len(problem.detail) + len(problem.hint or "") < 500


class Address(BaseModel):
    city: str


class Order(BaseModel, extra="forbid"):
    number: int = Field(ge=1)
    address: Address | None = None
    places: list[Address | int] = []

    @field_validator("number")
    @classmethod
    def _lucky(cls, number: int) -> int:
        return 13 // (number - 13)


ORDERS = FlowParser({"one": None, "two": Order})


@pytest.mark.parametrize(
    ("given_input", "pointers"),
    [
        ({"number": 1}, []),
        (None, ["/number"]),
        ({}, ["/number"]),
        ({"number": 0}, ["/number"]),
        ({"number": "x", "address": {}}, ["/number", "/address/city"]),
        ({"number": 1, "numbr": 2}, ["/numbr"]),
        (
            {"number": 1, "places": [1, {"city": 2}, {}]},
            ["/places/1/city", "/places/1", "/places/2/city", "/places/2"],
        ),
        ({"number": 13}, [""]),
    ],
)
def test_an_input_must_fit_the_model_of_its_task_type(given_input: object, pointers: list[str]) -> None:
    fields = {} if given_input is None else {"input": given_input}

    report = ORDERS.check(with_task(**fields))

    assert {problem.code for problem in report.errors} <= {"schema"}
    assert {problem.pointer for problem in report.errors} == {
        f"#/flow/tasks/1/input{each}" for each in pointers
    }


def test_without_task_types_neither_types_nor_inputs_are_checked() -> None:
    assert FlowParser().check(with_task(type="nobody", input={"number": "x"})).is_valid


def test_task_types_may_be_registered_after_the_parser_was_made() -> None:
    types: dict[str, type[BaseModel] | None] = {"one": None}
    parser = FlowParser(types)
    before = parser.check(PLAIN).is_valid

    types["two"] = None

    assert (before, parser.check(PLAIN).is_valid) == (False, True)


class Around(list[Any]):
    pass


def around_itself() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["one", "end", "5m"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*PLAIN, "flow", "input", "retry", "x-a", "source_task"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
broken_flows = st.builds(
    lambda at, value: {"flow": PLAIN | {at: value}},
    st.sampled_from([*PLAIN, "labels", "timeout", "x"]),
    json_values,
)


@given(json_values | broken_flows)
def test_no_document_makes_the_check_raise(document: object) -> None:
    report = ORDERS.check(document)

    assert report.is_valid == (not report.errors)
    assert all(problem.pointer.startswith("#") and problem.detail for problem in report.errors)


@pytest.mark.parametrize(
    "document", [around_itself(), {"flow": {"id": object()}}, {1: 2}, Around(), {"flow": Around()}]
)
def test_no_python_value_makes_the_check_raise(document: object) -> None:
    assert FlowParser().check(document).errors


task_names = st.lists(
    st.from_regex(r"\A[a-z]{1,4}\Z").filter(lambda name: name != "end"), min_size=1, unique=True
)


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(task_names)
    targets = st.sampled_from([*names, "end"])
    condition = st.fixed_dictionaries(
        {"source_task": st.sampled_from(names)},
        optional={
            "outcome": st.sampled_from(["success", "failure", "timeout", "unknown"]),
            "target_task_success": targets,
            "target_task_failure": targets,
            "x-é": st.floats(allow_nan=False, allow_infinity=False),
        },
    )
    conditions = [
        {"name": f"c{index}"} | each for index, each in enumerate(draw(st.lists(condition, max_size=6)))
    ]
    tasks = [{"name": name} for name in names]
    return {"id": "f", "name": "é", "start_task": names[0], "tasks": tasks, "conditions": conditions}


@given(flows())
def test_a_stored_definition_is_read_back_with_the_same_digest(document: dict[str, Any]) -> None:
    report = FlowParser().check(document)
    assert {problem.code for problem in report.errors} <= {"no-exit"}

    if report.flow is not None:
        again = FlowParser().parse(report.flow.document.encode())
        assert (again.digest, again.document) == (report.flow.digest, report.flow.document)
        assert (again.tasks, again.conditions_from) == (report.flow.tasks, report.flow.conditions_from)


def chain(length: int) -> dict[str, Any]:
    tasks = [{"name": f"t{each}", "description": "Does one thing"} for each in range(length)]
    conditions = [
        PLAIN["conditions"][0]
        | {"name": f"c{each}", "source_task": f"t{each}", "target_task_success": f"t{each + 1}"}
        for each in range(length - 1)
    ]
    return changed(start_task="t0", tasks=tasks, conditions=conditions)


def test_ten_thousand_tasks_are_read_in_time_and_without_recursion() -> None:
    text = canonical(chain(10_000)).encode()
    started = time.process_time()

    report = FlowParser().check(read_json(text))

    assert report.is_valid
    assert time.process_time() - started < 2


def test_ten_thousand_faults_are_told_in_time() -> None:
    document = chain(10_000)
    tasks = [task | {"nmae": 1, "timeout": 0} for task in document["flow"]["tasks"]]
    started = time.process_time()

    report = FlowParser({"u": None}).check(changed(start_task="t", tasks=tasks))

    assert report.truncated
    assert time.process_time() - started < 2
