from __future__ import annotations

import pytest

from flow_manager.core.events import Wait
from flow_manager.core.view import Phase, View
from flow_manager.engine.approvals import Approvals, Asking
from flow_manager.errors import NotAsked
from flow_manager.ports.backend import Answer

ASKING = Asking("0198c0de-0000-7000-8000-000000000001", 1, 1)


def view() -> View:
    wait = Wait("approval", signal="approval/1/1", question="Pay?", answer_by=("ada@shop", "bob@shop"))
    return View(ASKING.execution_id, phase=Phase.WAITING, run=1, attempt=1, wait=wait)


@pytest.mark.parametrize("by", ["", "eve@shop", "ada"])
def test_a_stranger_is_not_told_who_may_answer(by: str) -> None:
    with pytest.raises(NotAsked, match="for somebody else; 'by' must say who answers") as caught:
        Approvals(b"key").check(ASKING, view(), Answer(True, {}, by))

    assert "@shop" not in str(caught.value)


def test_whoever_is_asked_may_answer() -> None:
    sent = Approvals(b"key").check(ASKING, view(), Answer(True, {"n": 1}, "bob@shop"))

    assert sent == {"approved": True, "answer": {"n": 1}}
