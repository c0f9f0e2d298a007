"""What is sent again, when, and as which error an answer ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import httpx
import pytest

from flow_manager.api.problems import KINDS, NOT_FOUND
from flow_manager.client.connection import LONGEST_PAUSE, MOST_RETRY_AFTER, Call, Connection
from flow_manager.client.failures import ERRORS
from flow_manager.errors import (
    ApprovalUnknown,
    ExecutionUnknown,
    FlowManagerError,
    InvalidRequest,
    Overloaded,
    Problem,
    ProblemError,
    ServiceUnreachable,
    SettingsError,
    StoreReadOnly,
)

SAFE: Final = Call("GET", "/health")
ONCE: Final = Call("POST", "/v1/x:signal", {"name": "paid"}, is_repeatable=False)
DONE: Final = httpx.Response(200, json={"ok": True})

Step = httpx.Response | Exception


def problem(status: int, kind: str, retry_after: str | None = None, **members: Any) -> httpx.Response:
    body = {"type": f"/problems/{kind}", "title": "t", "status": status, "detail": f"it is {kind}", **members}
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(
        status, json=body, headers=headers | ({} if retry_after is None else {"Retry-After": retry_after})
    )


class Script:
    """A service that answers so, one after another, and notes what it was asked."""

    def __init__(
        self, steps: Sequence[Step], chance: Callable[[], float] = lambda: 1.0, tries: int = 4
    ) -> None:
        self._steps: Iterator[Step] = iter(steps)
        self.asked: list[httpx.Request] = []
        self.pauses: list[float] = []
        transport = httpx.MockTransport(self._answer)
        self.connection = Connection(
            "http://flows.example/api",
            timeout=5,
            tries=tries,
            transport=transport,
            pause=self.pauses.append,
            chance=chance,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        return step


LOST: Final = httpx.ReadError("connection reset")
UNSENT: Final = httpx.ConnectError("connection refused")


@pytest.mark.parametrize(
    ("call", "first", "pause"),
    [
        (SAFE, LOST, 0.1),
        (SAFE, UNSENT, 0.1),
        (SAFE, httpx.ReadTimeout("too slow"), 0.1),
        (SAFE, problem(503, "overloaded", "1"), 1.1),
        (SAFE, problem(429, "too-many-signals", "5"), 5.1),
        (SAFE, problem(429, "too-many-signals"), 0.1),
        (ONCE, UNSENT, 0.1),
        (ONCE, httpx.ConnectTimeout("no answer"), 0.1),
    ],
)
def test_what_is_safe_is_sent_again(call: Call, first: Step, pause: float) -> None:
    script = Script([first, DONE])

    assert script.connection.send(call).json() == {"ok": True}

    assert script.pauses == [pytest.approx(pause)]
    assert len({request.content for request in script.asked}) == 1


@pytest.mark.parametrize(
    ("call", "first", "error"),
    [
        (ONCE, LOST, ServiceUnreachable),
        (ONCE, httpx.ReadTimeout("too slow"), ServiceUnreachable),
        (ONCE, problem(503, "overloaded", "1"), Overloaded),
        (SAFE, problem(503, "read-only"), StoreReadOnly),
        (SAFE, problem(503, "overloaded", str(MOST_RETRY_AFTER + 1)), Overloaded),
        (SAFE, problem(503, "overloaded", "Wed, 21 Oct 2026 07:28:00 GMT"), Overloaded),
        (SAFE, problem(500, "internal-error", "1"), ProblemError),
        (SAFE, problem(404, "not-found"), ProblemError),
        (SAFE, httpx.Response(302, headers={"Location": "http://elsewhere.example"}), ProblemError),
        (SAFE, httpx.Response(502, text="<h1>Bad gateway</h1>"), ProblemError),
    ],
)
def test_what_is_not_safe_is_sent_once(call: Call, first: Step, error: type[Exception]) -> None:
    script = Script([first, DONE])

    with pytest.raises(error):
        script.connection.send(call)

    assert (len(script.asked), script.pauses) == (1, [])


def test_there_are_so_many_tries_and_no_more() -> None:
    script = Script([LOST] * 9)

    with pytest.raises(ServiceUnreachable, match="connection reset; is the service running there"):
        script.connection.send(SAFE)

    assert len(script.asked) == 4
    assert script.pauses == [pytest.approx(each) for each in (0.1, 0.2, 0.4)]


def test_an_answer_that_asks_for_patience_is_raised_in_the_end() -> None:
    script = Script([problem(503, "overloaded", "2")] * 9)

    with pytest.raises(Overloaded) as caught:
        script.connection.send(SAFE)

    assert caught.value.retry_after == 2
    assert len(script.asked) == 4


def test_pauses_are_of_random_length_and_bounded() -> None:
    shares = iter([0.0, 0.5, 1.0])
    script = Script([LOST] * 9, lambda: next(shares))

    with pytest.raises(ServiceUnreachable):
        script.connection.send(SAFE)

    assert script.pauses == [0.0, pytest.approx(0.1), pytest.approx(0.4)]


def test_no_pause_is_longer_than_the_longest() -> None:
    script = Script([LOST] * 20, tries=12)

    with pytest.raises(ServiceUnreachable):
        script.connection.send(SAFE)

    assert script.pauses == sorted(script.pauses)
    assert script.pauses[-1] == LONGEST_PAUSE


def test_a_lost_answer_is_told_apart_from_one_that_was_never_asked_for() -> None:
    with pytest.raises(ServiceUnreachable, match="may have happened"):
        Script([LOST]).connection.send(ONCE)


def test_an_error_of_its_own_has_all_that_was_said_as_its_cause() -> None:
    fault = {"parameter": "limit", "code": "out-of-range", "detail": "a number"}
    script = Script([problem(422, "invalid-request", instance="/requests/7", errors=[fault])])

    with pytest.raises(InvalidRequest, match="it is invalid-request") as caught:
        script.connection.send(SAFE)

    cause = caught.value.__cause__
    assert isinstance(cause, ProblemError)
    assert (cause.status, cause.type, cause.instance) == (422, "invalid-request", "/requests/7")
    assert caught.value.problems == cause.problems == (Problem("limit", "out-of-range", "a number"),)


@pytest.mark.parametrize("unknown", [ExecutionUnknown, ApprovalUnknown])
def test_what_is_not_found_is_what_was_asked_for(unknown: type[FlowManagerError]) -> None:
    script = Script([problem(404, "not-found")])

    with pytest.raises(unknown):
        script.connection.send(Call("GET", "/x", unknown=unknown))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"type": 1}'])
def test_a_problem_that_is_none_is_still_an_error(content: bytes) -> None:
    headers = {"Content-Type": "application/problem+json"}

    with pytest.raises(ProblemError, match="is the address right") as caught:
        Script([httpx.Response(500, content=content, headers=headers)]).connection.send(SAFE)

    assert caught.value.status == 500


def test_paths_stand_below_that_of_the_address() -> None:
    script = Script([DONE])

    script.connection.send(Call("POST", "/v1/flows:test", {"a": 1}, headers={"Prefer": "wait=1"}))

    request = script.asked[0]
    assert str(request.url) == "http://flows.example/api/v1/flows:test"
    assert (request.headers["Prefer"], request.headers["Content-Type"]) == ("wait=1", "application/json")


@pytest.mark.parametrize(
    "url", ["", "localhost:5000", "ftp://x", "http://", "/v1", "http://[::1", "http://x:70000"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"is no address of a service; one is http://127\.0\.0\.1:5000"):
        Connection(url, timeout=1, tries=1)


def test_what_is_no_text_is_refused_before_anything_is_sent() -> None:
    connection = Connection("http://127.0.0.1:9", timeout=1, tries=1)

    for call in (Call("POST", "/", {"a": "\udcff"}), Call("GET", "/", parameters={"q": "\udcff"})):
        with pytest.raises(InvalidRequest, match="is no text"):
            connection.send(call)


def test_every_error_that_the_service_answers_with_is_raised_by_the_client() -> None:
    # What is not there is called by what was asked for.
    told = {kind.name for kind in KINDS.values() if kind is not NOT_FOUND}

    assert ERRORS.keys() == told
    assert {name: KINDS[error].name for name, error in ERRORS.items()} == {name: name for name in told}
