from __future__ import annotations

from typing import Any

import pytest

from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.edited import replay
from flow_manager.core.simulation.mocks import parse_simulation
from flow_manager.core.simulation.simulate import simulate

FLOW = FlowParser().parse(
    {
        "flow": {
            "id": "order",
            "name": "",
            "start_task": "price",
            "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
            "tasks": [
                {"name": "price", "description": "", "type": "any"},
                {"name": "ask", "description": "", "type": "approval", "input": {"question": "Pay?"}},
                {
                    "name": "pay",
                    "description": "",
                    "type": "any",
                    "retry": {"max_attempts": 2, "delay": "1s"},
                },
                {"name": "drop", "description": "", "type": "any"},
            ],
            "conditions": [
                {
                    "name": "dear",
                    "description": "",
                    "source_task": "price",
                    "outcome": "success",
                    "when": "result.data.sum > 100 || input.n > 10",
                    "target_task_success": "ask",
                    "target_task_failure": "pay",
                },
                {
                    "name": "allowed",
                    "description": "",
                    "source_task": "ask",
                    "outcome": "success",
                    "when": "result.data.approved",
                    "target_task_success": "pay",
                    "target_task_failure": "drop",
                },
            ],
        }
    }
)
CHEAP = {"price": [{"data": {"sum": 5}}], "pay": [{"data": {"paid": True}}]}


def recorded(mocks: dict[str, Any], n: int = 1) -> Any:
    simulation = parse_simulation({"input": {"n": n}, "mocks": mocks}, FLOW)
    return simulate(FLOW, simulation).execution.events


def mocked(**mocks: Any) -> Any:
    return parse_simulation({"mocks": mocks}, FLOW).mocks


def test_without_edits_the_recorded_route_is_taken() -> None:
    replayed = replay(FLOW, recorded(CHEAP))

    assert replayed.comparison.outcome == "same"
    assert replayed.now == replayed.recorded
    assert replayed.now.tasks == ["price", "pay"]
    assert replayed.now.end == "end: completed"


def test_another_input_leads_elsewhere_as_far_as_results_are_recorded() -> None:
    replayed = replay(FLOW, recorded(CHEAP), input={"n": 11})

    comparison = replayed.comparison
    assert comparison.outcome == "needs"
    assert comparison.need is not None
    assert (comparison.need.task, comparison.need.visit) == ("ask", 1)
    assert comparison.difference is not None
    assert (comparison.difference.recorded, comparison.difference.new) == ("pay", "ask")
    assert (replayed.now.tasks, replayed.now.end) == (["price", "ask"], "cannot be told")


def test_a_mock_takes_the_place_of_a_result_that_was_never_recorded() -> None:
    replayed = replay(
        FLOW, recorded(CHEAP), input={"n": 11}, mocks=mocked(ask=[{"data": {"approved": True}}])
    )

    assert replayed.comparison.outcome == "differs"
    assert (replayed.now.tasks, replayed.now.end) == (["price", "ask", "pay"], "end: completed")
    assert (replayed.mocked, replayed.unused) == (["ask"], [])


def test_a_mock_takes_the_place_of_a_recorded_result() -> None:
    replayed = replay(FLOW, recorded(CHEAP), mocks=mocked(pay=[{"error": {"code": "card.refused"}}]))

    assert replayed.now.end == "end: failed"
    assert replayed.now.error["code"] == "card.refused"
    assert replayed.comparison.difference is not None
    assert replayed.comparison.difference.new == "end: failed"


def test_mocks_of_a_task_are_used_in_order_and_those_of_no_use_are_named() -> None:
    failing_once = [{"error": {"code": "card.busy"}}, {"data": {}}]

    replayed = replay(FLOW, recorded(CHEAP), mocks=mocked(pay=failing_once, drop=[{}]))

    assert (replayed.now.end, replayed.comparison.outcome) == ("end: completed", "same")
    assert replayed.unused == ["drop"]


def test_an_execution_that_was_open_goes_on_with_a_mock() -> None:
    history = recorded({"price": [{"data": {"sum": 500}}]})

    still_open = replay(FLOW, history)
    answered = replay(FLOW, history, mocks=mocked(ask=[{"data": {"approved": False}}], drop=[{}]))

    assert (still_open.comparison.outcome, still_open.now.end) == ("same", "still open")
    assert (answered.now.tasks, answered.now.end) == (["price", "ask", "drop"], "end: completed")


def test_an_input_that_does_not_fit_is_refused_at_the_start() -> None:
    replayed = replay(FLOW, recorded(CHEAP), input={"n": "many"})

    assert replayed.now.end == "refused: the input does not fit"
    assert replayed.comparison.outcome == "differs"


@pytest.mark.parametrize("cut", range(1, 7))
def test_every_beginning_of_a_history_is_replayed_as_far_as_it_goes(cut: int) -> None:
    assert replay(FLOW, recorded(CHEAP)[:cut]).comparison.outcome == "same"
