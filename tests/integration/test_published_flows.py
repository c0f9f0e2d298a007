"""Publishing and starting with the engine as a library: from many threads, on a real file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from flow_manager import bootstrap
from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.reading import ReadingBackend
from flow_manager.errors import FlowUnknown, InvalidFlow, InvalidRequest, KeyConflict, StoreReadOnly
from flow_manager.ports.starting import Accepted, StartOptions, StartRequest
from flow_manager.settings import Settings
from tests.support.documents import document, task

ROUNDS = 20
SHOP = document(task("nothing"), flow_id="shop")


def case(output: Any) -> dict[str, Any]:
    return {"name": "a case", "expect": {"output": output}}


def test_a_published_flow_is_started_as_it_is(backend: NativeBackend) -> None:
    version = backend.flows.publish("shop", SHOP).version

    flow = backend.flows.version("shop")

    assert flow.digest == version.digest
    assert backend.execute(flow, {}).status is ExecutionStatus.COMPLETED


def test_a_change_does_not_touch_what_is_under_way(backend: NativeBackend) -> None:
    held = document(task("signal", {"name": "go"}), flow_id="shop", output="one")
    tag = backend.flows.publish("shop", held).version.tag
    running = backend.execute(backend.flows.version("shop"), {}, wait=timedelta(0)).execution_id

    held["flow"]["output"] = "two"
    backend.flows.publish("shop", held, expected=tag)
    backend.signal(running, "go")
    list(backend.follow(running))

    assert backend.describe(running).output == "one"
    assert backend.flows.version("shop").document != backend.definition(running).document
    assert backend.flows.version("shop", 1).document == backend.definition(running).document


@pytest.mark.parametrize(
    ("flow_id", "written", "problems"),
    [
        ("other", SHOP, [("#/flow/id", "other-id")]),
        ("shop", SHOP["flow"] | {"start_task": "x"}, [("#/start_task", "unknown-task")]),
        ("shop", document(task("nothinc"), flow_id="shop"), [("#/flow/tasks/0/type", "unknown-task")]),
        (
            "shop",
            document(task("transform"), flow_id="shop", output=2, tests=[case(2), case(3)]),
            [("#/flow/tests/1/expect/output", "case-failed")],
        ),
    ],
)
def test_what_may_not_be_published_is_told_at_its_place(
    backend: NativeBackend, flow_id: str, written: object, problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidFlow) as refusal:
        backend.flows.publish(flow_id, written)

    assert [(each.pointer, each.code) for each in refusal.value.problems] == problems
    assert list(backend.flows.flows()) == []


def test_a_deleted_flow_is_not_started_and_its_versions_can_be_read(backend: NativeBackend) -> None:
    backend.flows.publish("shop", SHOP)
    backend.flows.delete("shop")

    for version in (None, 1):
        with pytest.raises(FlowUnknown):
            backend.flows.version("shop", version)
    assert backend.flows.document("shop", 1)[0].is_deleted
    assert [each.version for each in backend.flows.versions("shop")] == [1]


@pytest.mark.parametrize(("flow_id", "version"), [("nobody", None), ("nobody", 1), ("shop", 2)])
def test_what_was_never_published_is_not_there(
    backend: NativeBackend, flow_id: str, version: int | None
) -> None:
    backend.flows.publish("shop", SHOP)

    with pytest.raises(FlowUnknown):
        backend.flows.version(flow_id, version)


def test_64_threads_with_one_key_start_one_execution(backend: NativeBackend) -> None:
    """G3."""
    backend.flows.publish("shop", SHOP)
    flow = backend.flows.version("shop")
    with ThreadPoolExecutor(64) as threads:
        for number in range(ROUNDS):
            options = StartOptions(f"key {number}", b"same")
            starts = list(threads.map(lambda _: backend.start(flow, {}, options), range(64)))  # noqa: B023

            assert len({each.view.execution_id for each in starts}) == 1
            assert [each.is_new for each in starts].count(True) == 1
            assert {each.view.status for each in starts} == {ExecutionStatus.COMPLETED}

    assert len(backend.executions(limit=1000)) == ROUNDS


def test_the_answer_to_the_same_request_waits_as_the_first_one(backend: NativeBackend) -> None:
    backend.flows.publish("shop", document(task("sleep", {"seconds": 0.3}), flow_id="shop"))
    flow, options = backend.flows.version("shop"), StartOptions("k", b"same")

    first = backend.start(flow, {}, options, wait=timedelta(0))
    at_once = backend.start(flow, {}, options, wait=timedelta(0))
    waited = backend.start(flow, {}, options, wait=timedelta(seconds=20))

    assert [each.is_new for each in (first, at_once, waited)] == [True, False, False]
    assert not at_once.view.is_ended
    assert waited.view.status is ExecutionStatus.COMPLETED


def test_several_are_started_together_and_each_has_its_answer(backend: NativeBackend) -> None:
    backend.flows.publish("shop", document(task("nothing"), flow_id="shop", input_schema={"required": ["n"]}))
    keyed = StartOptions("k", b"same")

    answers = backend.start_all(
        backend.flows.version("shop"),
        [
            StartRequest({"n": 1}, {"team": "data"}),
            StartRequest({}),
            StartRequest({"n": 2}, options=keyed),
            StartRequest({"n": 2}, options=keyed),
            StartRequest({"n": 3}, options=StartOptions("k", b"other")),
        ],
    )

    kinds = [type(each) for each in answers]
    assert kinds == [Accepted, InvalidRequest, Accepted, Accepted, KeyConflict]
    first, _, second, again, _ = answers
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert again == Accepted(second.execution_id, is_new=False)
    for each in (first, second):
        list(backend.follow(each.execution_id))
        assert backend.describe(each.execution_id).status is ExecutionStatus.COMPLETED
    assert backend.describe(first.execution_id).labels == {"team": "data"}


def test_where_nothing_can_be_written_published_flows_are_read(
    backend: NativeBackend, settings: Settings
) -> None:
    backend.flows.publish("shop", SHOP)

    with closing(
        ReadingBackend(bootstrap.open_reader(settings), bootstrap.build_registry(settings))
    ) as reading:
        assert reading.flows.version("shop").id == "shop"
        with pytest.raises(StoreReadOnly):
            reading.flows.publish("shop", SHOP)
        with pytest.raises(StoreReadOnly):
            reading.flows.delete("shop")
        with pytest.raises(StoreReadOnly):
            reading.start(reading.flows.version("shop"), {}, StartOptions())
        with pytest.raises(StoreReadOnly):
            reading.start_all(reading.flows.version("shop"), [StartRequest({})])
