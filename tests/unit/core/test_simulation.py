from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from flow_manager.core.decide import MOST_DEATHS
from flow_manager.core.definition import Flow
from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.mocks import START, parse_simulation
from flow_manager.core.simulation.simulate import Simulated, simulate
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import InvalidRequest
from tests.support.documents import document, task

DAY = timedelta(days=1)


def parsed(*tasks: Mapping[str, Any], **fields: Any) -> Flow:
    return FlowParser().parse(document(*tasks, **fields))


def simulated(flow: Flow, **told: Any) -> Simulated:
    return simulate(flow, parse_simulation(told, flow))


def problems_of(flow: Flow, **told: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        parse_simulation(told, flow)
    return [(problem.pointer, problem.code) for problem in caught.value.problems]


def statuses(answer: Simulated) -> list[str]:
    return [entry.status for entry in answer.view.attempts]


# -- mocks


def test_a_task_without_a_mock_succeeds_without_data() -> None:
    answer = simulated(parsed(task("shop.charge"), task("shop.ship")), mocks={"task1": [{"data": {"id": 7}}]})

    assert answer.view.status is ExecutionStatus.COMPLETED
    assert answer.route == ["task1", "task2"]
    assert [entry.data for entry in answer.view.attempts] == [{"id": 7}, {}]
    assert answer.unmocked == ("task2",)


def test_mocks_are_used_in_order_and_the_last_one_repeats() -> None:
    flow = parsed(
        task("shop.charge", retry={"max_attempts": 4, "delay": "1h", "backoff": 1, "jitter": "none"})
    )
    busy = {"error": {"code": "shop.busy", "message": "later", "details": {"queue": 3}}}

    answer = simulated(flow, mocks={"task1": [{"outcome": "timeout", "message": "too slow"}, busy]})

    assert statuses(answer) == ["timeout", "failure", "failure", "failure"]
    assert answer.view.error is not None
    assert answer.view.error.to_json() == {
        "code": "shop.busy",
        "message": "later",
        "retryable": True,
        "details": {"queue": 3},
    }
    assert answer.now == START + timedelta(hours=3)


@pytest.mark.parametrize(
    ("mock", "outcome", "code", "message"),
    [
        ({"outcome": "failure"}, "failure", "task.failed", "the mock says failure"),
        ({"outcome": "timeout"}, "timeout", "task.timeout", "the mock says timeout"),
        ({"outcome": "unknown", "message": "who knows"}, "unknown", "task.lost", "who knows"),
        ({"error": {"code": "shop.gone"}}, "failure", "shop.gone", "shop.gone"),
        ({"error": {}, "message": "no"}, "failure", "task.failed", "no"),
        ({"outcome": "unknown", "error": {"code": "shop.gone"}}, "unknown", "shop.gone", "shop.gone"),
    ],
)
def test_what_a_mock_leaves_open_has_a_meaning(
    mock: dict[str, Any], outcome: str, code: str, message: str
) -> None:
    entry = simulated(parsed(task("x")), mocks={"task1": [mock]}).view.last_attempt

    assert entry.error is not None
    assert (entry.status, entry.error.code, entry.message) == (outcome, code, message)


def test_a_mock_that_does_not_fit_the_output_schema_is_a_failure() -> None:
    flow = parsed(task("x", output_schema={"properties": {"id": {"type": "integer"}}, "required": ["id"]}))

    lying = simulated(flow, mocks={"task1": [{"data": {"id": "seven"}}]})
    silent = simulated(flow)

    assert lying.view.error is not None
    assert lying.view.error.code == "task.output_invalid"
    assert silent.view.status is ExecutionStatus.COMPLETED


def test_whoever_simulates_twice_gets_the_same_answer_twice() -> None:
    flow = parsed(task("x", retry={"max_attempts": 3}), task("y"))
    told = {"mocks": {"task1": [{"outcome": "failure"}, {}]}, "chance": 0.25}

    assert simulated(flow, **told).to_json(history=True) == simulated(flow, **told).to_json(history=True)


@pytest.mark.parametrize(("chance", "seconds"), [(0, 0), (0.5, 30), (0.75, 45)])
def test_the_share_of_a_jittered_wait_is_said(chance: float, seconds: int) -> None:
    flow = parsed(task("x", retry={"max_attempts": 2, "delay": "1m"}))

    answer = simulated(flow, mocks={"task1": [{"outcome": "failure"}, {}]}, chance=chance)

    assert answer.now == START + timedelta(seconds=seconds)


# -- time


def test_three_days_of_waits_take_no_time() -> None:
    waits = [task("wait", {"for": "1d"}) for _ in range(3)]

    answer = simulated(parsed(*waits), now="2026-01-05T09:00:00+01:00")

    assert answer.view.status is ExecutionStatus.COMPLETED
    assert answer.to_json()["started_at"] == "2026-01-05T08:00:00.000000Z"
    assert answer.to_json()["ended_at"] == "2026-01-08T08:00:00.000000Z"
    assert answer.to_json()["duration"] == 3 * 86400


def test_a_duration_counts_against_the_timeout_of_its_attempt() -> None:
    flow = parsed(task("x", timeout=10, retry={"max_attempts": 2, "delay": "1s", "jitter": "none"}))

    answer = simulated(flow, mocks={"task1": [{"duration": "11s"}, {"duration": "10s", "data": {"n": 1}}]})

    assert statuses(answer) == ["timeout", "success"]
    assert answer.view.attempts[0].message == "the attempt did not end within 10 s"
    assert answer.now == START + timedelta(seconds=21)


def test_a_duration_counts_against_the_timeout_of_the_flow() -> None:
    flow = parsed(task("x", timeout=90), task("y"), timeout="1m")

    answer = simulated(flow, mocks={"task1": [{"duration": "2m"}]})

    assert statuses(answer) == ["timeout"]
    assert answer.view.error is not None
    assert answer.view.error.code == "flow.timeout"
    assert answer.now == START + timedelta(minutes=1)


def test_what_is_done_side_by_side_takes_the_time_of_the_longest() -> None:
    child = document(task("x"), flow_id="child")["flow"]
    flow = parsed(task("for_each", {"flow": child, "items": [1, 2, 3, 4], "max_parallel": 2}))

    answer = simulated(flow, mocks={"task1/task1": [{"duration": 5}, {"duration": 20}, {"duration": 10}]})

    assert answer.view.status is ExecutionStatus.COMPLETED
    assert answer.now == START + timedelta(seconds=25)


# -- signals and answers


def test_a_signal_is_sent_at_its_time() -> None:
    flow = parsed(task("signal", {"name": "paid"}), output={"got": "${results.task1.data}"})

    answer = simulated(flow, signals=[{"name": "paid", "payload": {"sum": 3}, "by": "bank", "after": "1d"}])

    assert answer.view.output == {"got": {"payload": {"sum": 3}, "by": "bank"}}
    assert answer.now == START + DAY


def test_a_signal_that_is_early_is_found_later() -> None:
    flow = parsed(task("wait", {"for": "2d"}), task("signal", {"name": "paid", "timeout": "1h"}))

    answer = simulated(flow, signals=[{"name": "other"}, {"name": "paid"}])

    assert answer.view.status is ExecutionStatus.COMPLETED
    assert answer.now == START + 2 * DAY


def test_a_mock_of_a_signal_is_its_payload() -> None:
    flow = parsed(task("signal"), task("signal"), output={"a": "${results.task1.data.payload}"})

    answer = simulated(flow, mocks={"task1": [{"data": 3, "duration": "1h"}], "task2": [{"by": "ada"}]})

    assert answer.view.output == {"a": 3}
    assert answer.view.results["task2"].data == {"payload": None, "by": "ada"}
    assert answer.now == START + timedelta(hours=1)


def test_a_signal_that_comes_too_late_is_a_timeout() -> None:
    flow = parsed(task("signal", {"timeout": "1h"}))

    late = simulated(flow, mocks={"task1": [{"duration": "2h"}]})
    never = simulated(flow, mocks={"task1": [{"outcome": "timeout"}]})

    assert statuses(late) == statuses(never) == ["timeout"]
    assert late.now == never.now == START + timedelta(hours=1)


@pytest.mark.parametrize(("approved", "status"), [(True, "success"), (False, "failure")])
def test_a_mock_of_an_approval_is_its_answer(approved: bool, status: str) -> None:
    flow = parsed(task("approval", {"question": "Ship?"}))

    answer = simulated(flow, mocks={"task1": [{"data": {"approved": approved}, "by": "ada"}]})

    assert statuses(answer) == [status]
    assert answer.view.last_attempt.data == {"approved": approved, "answer": {}, "by": "ada"}


def test_a_wait_that_nothing_ends_is_told() -> None:
    child = document(task("approval", {"question": "Ship?"}), flow_id="child")["flow"]

    answer = simulated(parsed(task("flow", {"flow": child})))

    body = answer.to_json()
    assert body["status"] == "waiting"
    assert body["ended_at"] is None
    assert [(each["task"], each["reason"]) for each in body["waiting"]] == [
        ("task1", "children"),
        ("task1/task1", "signal"),
    ]


# -- faults


def test_a_crash_loses_the_attempt_once() -> None:
    answer = simulated(parsed(task("x"), task("y")), faults=[{"after": "task1", "do": "crash"}])

    assert statuses(answer) == ["lost", "success", "success"]
    assert answer.view.attempts[0].message == "the worker died before the result was stored"


def test_a_crash_of_a_task_that_never_starts_twice_is_unknown() -> None:
    answer = simulated(parsed(task("x", on_lost="unknown")), faults=[{"after": "task1"}])

    assert statuses(answer) == ["unknown"]
    assert answer.view.status is ExecutionStatus.FAILED


def test_crashes_without_end_end_in_quarantine() -> None:
    answer = simulated(parsed(task("x")), faults=[{"after": "task1"}] * MOST_DEATHS)

    assert answer.view.status is ExecutionStatus.QUARANTINED


def test_a_wait_survives_a_crash() -> None:
    answer = simulated(parsed(task("wait", {"for": "1d"})), faults=[{"after": "task1"}])

    assert statuses(answer) == ["success"]
    assert answer.now == START + DAY


# -- children


def booking(**fields: Any) -> dict[str, Any]:
    """A child that can be undone."""
    undo = {"name": "undo", "type": "shop.undo"}
    first = {"name": "book", "type": "shop.book", "compensate_with": "undo"}
    flow: dict[str, Any] = document(first, undo, flow_id="booking", **{"conditions": [], **fields})["flow"]
    return flow


def test_children_are_simulated_with_the_mocks_of_their_tasks() -> None:
    child = {**booking(), "output": {"id": "${results.book.data.id}", "item": "${input.item}"}}
    flow = parsed(task("for_each", {"flow": child, "items": ["a", "b"]}))

    answer = simulated(flow, mocks={"task1/book": [{"data": {"id": 1}}, {"data": {"id": 2}}]})

    results = answer.view.results["task1"].data["results"]
    assert [each["output"] for each in results] == [{"id": 1, "item": "a"}, {"id": 2, "item": "b"}]
    assert answer.unmocked == ()


def test_a_mock_of_the_parent_stands_in_for_its_children() -> None:
    flow = parsed(task("flow", {"flow": booking()}, compensate_with=None), task("y"))
    mocks = {"task1": [{"data": {"output": 1}, "duration": "1h"}], "task2": [{"outcome": "failure"}]}

    answer = simulated(flow, mocks=mocks)

    assert len(answer.executions) == 1
    assert answer.view.results["task1"].data == {"output": 1}
    assert answer.now == START + timedelta(hours=1)
    assert answer.route == ["task1", "task2", "task1"]
    assert answer.view.error is not None
    assert answer.view.error.code == "task.failed"


def test_what_children_did_is_undone() -> None:
    flow = parsed(task("for_each", {"flow": booking(), "items": [1, 2]}), task("y"))

    answer = simulated(flow, mocks={"task2": [{"outcome": "failure"}]})

    children = answer.executions[1:]
    assert [child.view.status for child in children] == [ExecutionStatus.CANCELLED] * 2
    assert [[entry.task for entry in child.view.attempts] for child in children] == [["book", "undo"]] * 2


def test_children_that_take_too_long_are_cancelled() -> None:
    flow = parsed(task("for_each", {"flow": booking(), "items": [1, 2]}), timeout="1m")

    answer = simulated(flow, mocks={"task1/book": [{"duration": "30s"}, {"duration": "2m"}]})

    assert [child.view.status.value for child in answer.executions[1:]] == ["cancelled", "cancelled"]
    # The first one had completed, and was undone with its parent.
    assert [child.view.last_attempt.status for child in answer.executions[1:]] == ["success", "cancelled"]
    assert answer.view.error is not None
    assert answer.view.error.code == "flow.timeout"
    assert answer.now == START + timedelta(minutes=1)


def test_a_mocked_parent_that_takes_too_long_is_cancelled() -> None:
    flow = parsed(task("flow", {"flow": booking()}), timeout="1m")

    answer = simulated(flow, mocks={"task1": [{"duration": "2m"}]})

    assert statuses(answer) == ["cancelled"]
    assert answer.now == START + timedelta(minutes=1)


# -- the answer


def test_the_answer_tells_which_ways_were_exercised() -> None:
    answer = simulated(parsed(task("x"), task("y"), task("z")), mocks={"task2": [{"outcome": "failure"}]})

    body = answer.to_json()
    assert body["exercised"] == [
        {"task": "task1", "condition": "condition1", "matched": True, "to": "task2"},
        {"task": "task2", "condition": "condition2", "matched": False, "to": "end"},
    ]
    assert [(each["task"], each["matched"]) for each in body["not_exercised"]] == [
        ("task1", False),
        ("task2", True),
    ]


def test_ways_of_children_count_by_their_place() -> None:
    child = document(task("x"), task("y"), flow_id="child")["flow"]

    answer = simulated(parsed(task("flow", {"flow": child})))

    assert [edge.task for edge in answer.exercised] == ["task1/task1"]


def test_the_history_is_told_on_request() -> None:
    answer = simulated(parsed(task("x")))

    assert "events" not in answer.to_json()
    kinds = [event["type"] for event in answer.to_json(history=True)["events"]]
    assert kinds == ["execution_started", "attempt_started", "attempt_ended", "routed", "execution_ended"]


def test_secrets_are_never_needed() -> None:
    flow = parsed(task("x", {"key": "${secrets.bank}"}))

    assert simulated(flow).view.status is ExecutionStatus.COMPLETED


def test_labels_of_the_flow_and_of_the_request_are_both_there() -> None:
    flow = parsed(task("x"), labels={"team": "shop", "kind": "a"})

    assert simulated(flow, labels={"kind": "b"}).view.labels == {"team": "shop", "kind": "b"}


# -- the input


def test_defaults_of_the_input_are_filled_in() -> None:
    schema = {"properties": {"count": {"type": "integer", "default": 3}}}
    flow = parsed(task("x"), input_schema=schema, output="${input.count}")

    assert simulated(flow).view.output == 3


def test_an_input_that_does_not_fit_is_refused() -> None:
    flow = parsed(task("x"), input_schema={"properties": {"count": {"type": "integer"}}})

    with pytest.raises(InvalidRequest) as caught:
        simulated(flow, input={"count": "many"})

    assert [problem.pointer for problem in caught.value.problems] == ["#/input/count"]


# -- bounds


def test_a_simulation_always_ends() -> None:
    conditions = [{"name": "again", "source_task": "task1", "target_task_success": "task1"}]
    flow = parsed(task("x", retry={"max_attempts": 100}), conditions=conditions, max_task_runs=10_000)

    answer = simulated(flow, mocks={"task1": [{"outcome": "failure", "duration": 1}, {"duration": 1}]})

    assert answer.stopped == "the executions have had all the 10000 steps that they may have"
    assert answer.view.status is ExecutionStatus.RUNNING


@pytest.mark.parametrize(
    ("wait", "number", "stopped"),
    [
        ({"for": "366d"}, 200, "36600 days of virtual time are over"),
        ({"for": "1s"}, 200, ""),
    ],
)
def test_virtual_time_is_bounded(wait: dict[str, str], number: int, stopped: str) -> None:
    assert simulated(parsed(*[task("wait", wait)] * number)).stopped == stopped


def test_results_are_bounded() -> None:
    conditions = [{"name": "again", "source_task": "task1", "target_task_success": "task1"}]
    flow = parsed(task("x"), conditions=conditions, max_task_runs=1000)

    answer = simulated(flow, mocks={"task1": [{"data": {"text": "x" * 200_000}}]})

    assert answer.stopped == "all results together are more than 16 MiB of JSON"


# -- what cannot be simulated


@pytest.mark.parametrize(
    ("told", "problems"),
    [
        ({"mock": {}}, [("#/mock", "unknown-field")]),
        ({"mocks": {"task9": [{}]}}, [("#/mocks/task9", "unknown-task")]),
        ({"mocks": {"task1/x": [{}]}}, [("#/mocks/task1~1x", "unknown-task")]),
        ({"mocks": {"task1": []}}, [("#/mocks/task1", "schema")]),
        ({"mocks": {"task1": {}}}, [("#/mocks/task1", "schema")]),
        ({"mocks": {"task1": [{"dat": {}}]}}, [("#/mocks/task1/0/dat", "unknown-field")]),
        ({"mocks": {"task1": [{"error": {"cod": 1}}]}}, [("#/mocks/task1/0/error/cod", "unknown-field")]),
        ({"mocks": {"task1": [{"error": {"code": "X"}}]}}, [("#/mocks/task1/0/error/code", "schema")]),
        ({"mocks": {"task1": [{"data": [1]}]}}, [("#/mocks/task1/0", "schema")]),
        ({"mocks": {"task1": [{"by": "ada"}]}}, [("#/mocks/task1/0", "schema")]),
        ({"mocks": {"task1": [{"outcome": "success", "error": {}}]}}, [("#/mocks/task1/0", "schema")]),
        ({"mocks": {"task1": [{"duration": "soon"}]}}, [("#/mocks/task1/0/duration", "bad-duration")]),
        ({"mocks": {"task1": [{"duration": 0}]}}, [("#/mocks/task1/0/duration", "out-of-range")]),
        ({"mocks": {"task2": [{}]}}, [("#/mocks/task2", "schema")]),
        ({"mocks": {"task3": [{"error": {}}]}}, [("#/mocks/task3/0", "schema")]),
        ({"mocks": {"task4": [{"data": {"approved": 1}}]}}, [("#/mocks/task4/0", "schema")]),
        ({"faults": [{"after": "task9"}]}, [("#/faults/0/after", "unknown-task")]),
        ({"faults": [{"after": "task5"}]}, [("#/faults/0/after", "schema")]),
        ({"faults": [{"after": "task1", "do": "burn"}]}, [("#/faults/0/do", "schema")]),
        ({"signals": [{"nam": "x"}]}, [("#/signals/0/nam", "unknown-field"), ("#/signals/0/name", "schema")]),
        ({"now": "2026-01-01"}, [("#/now", "bad-time")]),
        ({"now": "9999-01-01T00:00:00Z"}, [("#/now", "out-of-range")]),
        ({"now": 7}, [("#/now", "wrong-type")]),
        ({"chance": 1}, [("#/chance", "schema")]),
        ({"input": []}, [("#/input", "schema")]),
    ],
)
def test_what_cannot_be_simulated_is_refused_at_its_place(
    told: Mapping[str, Any], problems: Sequence[tuple[str, str]]
) -> None:
    flow = parsed(
        task("x"),
        task("wait", {"for": 1}),
        task("signal"),
        task("approval", {"question": "Ship?"}),
        task("transform", {"a": 1}),
    )

    assert problems_of(flow, **told) == list(problems)


def test_every_problem_is_told_at_once_and_with_a_hint() -> None:
    flow = parsed(task("x"))

    with pytest.raises(InvalidRequest) as caught:
        parse_simulation({"mocks": {"tsk1": [{"dta": {}}]}, "faluts": [], "now": ""}, flow)

    assert [(each.pointer, each.hint) for each in caught.value.problems] == [
        ("#/mocks/tsk1", "did you mean 'task1'?"),
        ("#/mocks/tsk1/0/dta", "did you mean 'data'?"),
        ("#/faluts", "did you mean 'faults'?"),
        ("#/now", None),
    ]
