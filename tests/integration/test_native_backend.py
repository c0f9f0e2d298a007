"""The engine as a library: called from plain threads, on a real file, with real tasks."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from flow_manager import bootstrap
from flow_manager.core.definition import Flow
from flow_manager.core.events import ExecutionEnded, ExecutionStarted
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.native import NativeBackend
from flow_manager.errors import ExecutionUnknown, InvalidRequest, ShuttingDown, StoreLocked
from flow_manager.settings import Settings
from tests.support.documents import document, task


def parsed(*tasks: dict[str, Any], **fields: Any) -> Flow:
    return FlowParser().parse(document(*tasks, **fields))


QUICK = parsed(task("nothing"), task("plain"), labels={"team": "data"})
HELD = parsed(task("sleep", {"seconds": 0.5}))


def test_an_execution_is_waited_for_and_can_be_looked_up_later(backend: NativeBackend) -> None:
    view = backend.execute(QUICK, {"number": 7})

    assert view.status is ExecutionStatus.COMPLETED
    assert backend.describe(view.execution_id).to_json() == view.to_json()
    assert view.input == {"number": 7}


def test_labels_of_the_flow_and_of_the_call_go_together(backend: NativeBackend) -> None:
    view = backend.execute(QUICK, {}, labels={"run": "nightly"})

    assert view.labels == {"team": "data", "run": "nightly"}


def test_a_call_that_does_not_wait_answers_as_soon_as_the_start_is_durable(backend: NativeBackend) -> None:
    view = backend.execute(HELD, {}, wait=timedelta(0))

    assert view.status is ExecutionStatus.RUNNING
    assert isinstance(backend.history(view.execution_id)[0], ExecutionStarted)


def test_a_bounded_wait_answers_with_how_it_stands(backend: NativeBackend) -> None:
    endless = parsed(task("sleep", {"seconds": 60}))
    began = time.monotonic()

    view = backend.execute(endless, {}, wait=timedelta(seconds=0.1))

    assert view.status is ExecutionStatus.RUNNING
    assert 0.1 <= time.monotonic() - began < 2.0


def test_many_threads_each_get_the_result_of_their_own_execution(backend: NativeBackend) -> None:
    answers: dict[int, object] = {}

    def call(number: int) -> None:
        answers[number] = backend.execute(QUICK, {"number": number}).input["number"]

    callers = [threading.Thread(target=call, args=(number,)) for number in range(50)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()

    assert answers == {number: number for number in range(50)}


def test_following_tells_every_event_once_until_the_end(backend: NativeBackend) -> None:
    started = backend.execute(HELD, {}, wait=timedelta(0))

    events = list(backend.follow(started.execution_id))

    assert events == list(backend.history(started.execution_id))
    assert isinstance(events[-1], ExecutionEnded)


def test_following_ends_where_only_an_operator_can_go_on(backend: NativeBackend) -> None:
    view = backend.execute(parsed(task("unheard-of")), {}, wait=timedelta(seconds=5))

    assert view.status is ExecutionStatus.WAITING
    assert len(list(backend.follow(view.execution_id))) == 1


def test_submitting_gives_a_future_of_the_result(backend: NativeBackend) -> None:
    futures = [backend.submit(QUICK, {"number": number}) for number in range(20)]

    assert [future.result(10).input["number"] for future in futures] == list(range(20))


@pytest.mark.parametrize(
    ("input", "code"),
    [
        ({"text": "x" * (300 << 10)}, "too-large"),
        ({"number": float("nan")}, "not-plain"),
        ({"when": object()}, "not-plain"),
    ],
)
def test_an_input_that_cannot_be_stored_is_refused(
    backend: NativeBackend, input: dict[str, object], code: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        backend.execute(QUICK, input)

    (problem,) = refusal.value.problems
    assert problem.pointer.startswith("#/input")
    assert problem.code == code


def test_an_unknown_id_is_an_error_that_says_so(backend: NativeBackend) -> None:
    with pytest.raises(ExecutionUnknown, match="no execution has the id 'nonsense'"):
        backend.describe("nonsense")


def test_a_second_engine_on_the_same_file_is_refused(backend: NativeBackend, settings: Settings) -> None:
    with pytest.raises(StoreLocked, match="another process is using"):
        bootstrap.open_backend(settings)


def test_a_closed_engine_accepts_nothing(settings: Settings) -> None:
    backend = bootstrap.open_backend(settings)
    backend.close(timedelta(0))
    backend.close(timedelta(0))

    with pytest.raises(ShuttingDown):
        backend.execute(QUICK, {})


def test_what_was_running_when_it_closed_goes_on_at_the_next_start(settings: Settings) -> None:
    backend = bootstrap.open_backend(settings)
    started = backend.execute(HELD, {}, wait=timedelta(0))
    backend.close(timedelta(0))

    backend = bootstrap.open_backend(settings)
    events = list(backend.follow(started.execution_id))
    view = backend.describe(started.execution_id)
    backend.close(timedelta(0))

    assert view.status is ExecutionStatus.COMPLETED
    assert [entry.attempt for entry in view.attempts] == [1, 1]
    assert isinstance(events[-1], ExecutionEnded)


def test_a_flow_is_checked_once_however_often_it_is_sent(backend: NativeBackend) -> None:
    flow = document(task("nothing"), flow_id="again")

    first, second = backend.validate(flow), backend.validate({**flow})

    assert first.is_valid
    assert second is first
