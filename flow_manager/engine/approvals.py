"""Approvals: questions that executions ask, and the tokens with which they are answered.

A token names the attempt that asks and is signed with the key of the store, so that it need not be
kept anywhere: it is good as long as that attempt waits, and so only once.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any, Final, NamedTuple

from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.plain import pointer_to
from flow_manager.core.schemas import Schema
from flow_manager.core.view import Phase, View
from flow_manager.errors import (
    ApprovalOver,
    ApprovalUnknown,
    ExecutionUnknown,
    InvalidRequest,
    NotAsked,
    Problem,
)
from flow_manager.ports.backend import Answer, Question

_SIGNATURE: Final = 32
"""Hexadecimal digits of a signature that go into a token: 128 bits."""
_LONGEST_TOKEN: Final = 128


class Asking(NamedTuple):
    """The attempt that asks."""

    execution_id: str
    run: int
    attempt: int


class Approvals:
    """Gives out tokens, and reads them back."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def question_of(self, view: View) -> Question | None:
        """What the execution asks, if it asks something."""
        wait = view.wait
        if view.phase is not Phase.WAITING or wait is None or wait.kind != "approval":
            return None
        token = self._token(Asking(view.execution_id, view.run, view.attempt))
        return Question(view.task, wait.question, wait.form, wait.answer_by, wait.until, token)

    def read(self, token: str) -> Asking:
        """Raises `ApprovalUnknown`."""
        unknown = ApprovalUnknown("no question has this link")
        if len(token) > _LONGEST_TOKEN or token.count(".") != 3 or not token.isascii():
            raise unknown
        execution_id, run, attempt, _ = token.split(".")
        try:
            asking = Asking(read_execution_id(execution_id), int(run), int(attempt))
        except (ValueError, ExecutionUnknown) as error:
            raise unknown from error
        if not hmac.compare_digest(self._token(asking), token):
            raise unknown
        return asking

    def check(self, asking: Asking, view: View, answer: Answer) -> dict[str, Any]:
        """What is sent to the execution. Raises `ApprovalOver`, `NotAsked` and `InvalidRequest`."""
        wait = view.wait
        is_asking = view.phase is Phase.WAITING and (view.run, view.attempt) == asking[1:]
        if wait is None or not is_asking:
            raise ApprovalOver("this question was answered already, or nobody waits for its answer any more")
        if wait.answer_by and answer.by not in wait.answer_by:
            raise NotAsked("this question is for somebody else; 'by' must say who answers")
        if wait.form is not None and answer.approved:
            _must_fit(wait.form, answer.fields)
        return {"approved": answer.approved, "answer": dict(answer.fields)}

    def _token(self, asking: Asking) -> str:
        text = f"{asking.execution_id}.{asking.run}.{asking.attempt}"
        signature = hmac.new(self._key, text.encode(), sha256).hexdigest()[:_SIGNATURE]
        return f"{text}.{signature}"


def _must_fit(form: Any, fields: Any) -> None:
    misfits = Schema.compile(form).misfits(fields)
    if misfits:
        problems = [
            Problem("#/answer" + pointer_to(each.path)[1:], "schema", each.detail) for each in misfits
        ]
        raise InvalidRequest("the answer does not fit the form of the question", problems)
