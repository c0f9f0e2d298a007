from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionQuarantined,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionStarted,
    ResultGiven,
    RetryScheduled,
    Routed,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.observers.logs import LogObserver, set_up_logging

AT = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
EXECUTION = "0198c0de-0000-7000-8000-000000000001"
NO = TaskError("task.failed", "no")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("flow_manager")
    handlers, level, own_level = list(root.handlers), root.level, own.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


def lines(*events: Event, level: str = "info") -> list[dict[str, Any]]:
    stream = io.StringIO()
    set_up_logging(level, "auto", stream)
    LogObserver().recorded(View(EXECUTION, "shop"), events)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("event", "level", "message"),
    [
        (ExecutionStarted(AT, "shop"), "info", "execution started"),
        (AttemptStarted(AT, "pay"), "info", "task pay started"),
        (AttemptStarted(AT, "pay", 1, 2), "info", "task pay started (attempt 2)"),
        (AttemptEnded(AT, "pay", message="paid"), "info", "task pay ended: success, paid"),
        (
            AttemptEnded(AT, "pay", outcome="failure", message="no", error=NO),
            "warning",
            "task pay ended: failure, no",
        ),
        (AttemptLost(AT, "pay", reason="gone"), "warning", "task pay was lost: gone"),
        (AttemptReleased(AT, "pay"), "info", "task pay was given back; it starts again later"),
        (
            RetryScheduled(AT, "pay", AT),
            "info",
            "task pay is tried again at 2026-01-14T10:30:00.000000Z (attempt 2)",
        ),
        (
            Routed(AT, "pay", "ship", "paid"),
            "info",
            "condition paid matched the outcome success of pay: routing to ship",
        ),
        (
            Routed(AT, "pay", "end", "paid", False, "failure"),
            "info",
            "condition paid did not match the outcome failure of pay: routing to end",
        ),
        (Routed(AT, "pay", "end"), "info", "task pay has no condition: routing to end"),
        (ExecutionQuarantined(AT, "pay", "why"), "error", "execution quarantined: why"),
        (ExecutionPaused(AT, "ann", "look"), "warning", "execution paused by ann: look"),
        (ExecutionResumed(AT), "info", "execution resumed"),
        (ExecutionRetried(AT, "ann"), "info", "execution retried by ann"),
        (ExecutionRerun(AT, "", "why", 0, "pay"), "info", "execution goes on at task pay: why"),
        (ResultGiven(AT, "ann", "why", 0, "pay"), "warning", "result of task pay given: success by ann: why"),
        (ExecutionEnded(AT), "info", "execution ended: completed"),
        (
            ExecutionEnded(AT, ExecutionStatus.FAILED, NO),
            "warning",
            "execution ended: failed, task.failed: no",
        ),
    ],
)
def test_every_event_has_its_line(event: Event, level: str, message: str) -> None:
    (line,) = lines(event)

    assert (line["level"], line["message"]) == (level, message)
    assert (line["execution_id"], line["flow_id"]) == (EXECUTION, "shop")
    assert line["at"] == "2026-01-14T10:30:00.000000Z"


def test_a_higher_level_leaves_out_what_is_below() -> None:
    told = lines(ExecutionStarted(AT, "shop"), AttemptLost(AT, "pay"), ExecutionEnded(AT), level="warning")

    assert [line["message"] for line in told] == ["task pay was lost: "]


def test_text_from_outside_cannot_forge_a_line() -> None:
    poison = 'gone\r\n{"level":"info"}\x1b[31m\ud800'

    (line,) = lines(AttemptLost(AT, "pay", reason=poison))

    assert line["level"] == "warning"


@pytest.mark.parametrize("character", ["\x9b", "\x7f", "\u2028", "\u202e", "\U000e0001"])
def test_what_a_terminal_takes_for_a_command_is_escaped(character: str) -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", stream)

    LogObserver().recorded(View(EXECUTION, "shop"), [AttemptLost(AT, "pay", reason=f"a{character}b")])

    assert stream.getvalue().rstrip("\n").isprintable()
    assert json.loads(stream.getvalue())["message"].endswith(f"a{character}b")


def test_people_on_a_terminal_get_sentences_without_control_characters() -> None:
    terminal = Terminal()
    set_up_logging("info", "auto", terminal)

    LogObserver().recorded(View(EXECUTION, "shop"), [AttemptLost(AT, "pay", reason="a\nb\x1b[2J")])

    assert "[000000000001] task pay was lost: a\\nb\\x1b[2J" in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1


def test_fields_that_a_task_gives_its_logger_are_in_the_line() -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", stream)

    logging.getLogger("flow_manager.task").info("paid %s", 7, extra={"task": "pay", "attempt": 2})

    line = json.loads(stream.getvalue())
    assert (line["message"], line["task"], line["attempt"]) == ("paid 7", "pay", 2)


def test_an_exception_is_told_in_one_line() -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", stream)

    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("flow_manager.engine").exception("it failed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad" in json.loads(line)["exception"]
