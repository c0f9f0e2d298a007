"""The log: every start and end of a task, every condition, every routing decision, every error.

One line per event, for people on a terminal, as one JSON object otherwise. What comes from
flows and tasks is data in both: control characters are escaped and cannot forge a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from flow_manager.core.attempts import format_time
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
)
from flow_manager.core.view import View

Line = tuple[str, dict[str, Any]]
"""A sentence, and the fields that a machine reads beside it."""

MOST_TEXT: Final = 1_000
"""Characters of a message from outside that go into a line."""


def _execution_started(event: ExecutionStarted) -> Line:
    return "execution started", {"labels": dict(event.labels)} if event.labels else {}


def _task_skipped(event: TaskSkipped) -> Line:
    return f"task {event.task} skipped: its run_when is false", {"task": event.task, "run": event.run}


def _attempt_started(event: AttemptStarted) -> Line:
    words = f"task {event.task} started"
    fields: dict[str, Any] = {"task": event.task, "run": event.run, "attempt": event.attempt}
    if event.attempt > 1:
        words += f" (attempt {event.attempt})"
    if event.compensates:
        words += f", to undo run {event.compensates}"
        fields["compensates"] = event.compensates
    if event.wait is not None:
        words += f": waiting for {_WAITS[event.wait.kind]}"
        if event.wait.until is not None:
            fields["until"] = format_time(event.wait.until)
    return words, fields


_WAITS: Final = {
    "time": "a time",
    "signal": "a signal",
    "approval": "an answer",
    "children": "other executions",
}


def _attempt_ended(event: AttemptEnded) -> Line:
    fields: dict[str, Any] = {
        "task": event.task,
        "run": event.run,
        "attempt": event.attempt,
        "outcome": event.outcome,
    }
    words = f"task {event.task} ended: {event.outcome}"
    if event.message:
        words += f", {event.message[:MOST_TEXT]}"
    if event.error is not None:
        fields["error"] = event.error.code
    return words, fields


def _attempt_lost(event: AttemptLost) -> Line:
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt, "error": "task.lost"}
    return f"task {event.task} was lost: {event.reason[:MOST_TEXT]}", fields


def _attempt_cancelled(event: AttemptCancelled) -> Line:
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt}
    return f"task {event.task} was told to stop: the execution is to end", fields


def _signal_received(event: SignalReceived) -> Line:
    by = f" from {event.by[:MOST_TEXT]}" if event.by else ""
    return f"signal {event.name} received{by}", {"signal": event.name, "by": event.by}


def _attempt_released(event: AttemptReleased) -> Line:
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt}
    return f"task {event.task} was given back; it starts again later", fields


def _retry_scheduled(event: RetryScheduled) -> Line:
    due_at = format_time(event.due_at)
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt, "due_at": due_at}
    return f"task {event.task} is tried again at {due_at} (attempt {event.attempt})", fields


def _routed(event: Routed) -> Line:
    fields: dict[str, Any] = {"task": event.task, "outcome": event.outcome, "to": event.to}
    if event.condition is None:
        return f"task {event.task} has no condition: routing to {event.to}", fields
    fields |= {"condition": event.condition, "matched": event.matched}
    matched = "matched" if event.matched else "did not match"
    read = f"condition {event.condition} {matched} the outcome {event.outcome} of {event.task}"
    return f"{read}: routing to {event.to}", fields


def _execution_quarantined(event: ExecutionQuarantined) -> Line:
    return f"execution quarantined: {event.reason[:MOST_TEXT]}", {"task": event.task}


def _execution_ending(event: ExecutionEnding) -> Line:
    words = f"execution is to end: {event.status}"
    fields: dict[str, Any] = {"status": event.status.value, "by": event.by}
    if event.error is not None:
        words += f", {event.error.code}: {event.error.message[:MOST_TEXT]}"
        fields["error"] = event.error.code
    return words, fields


def _execution_ended(event: ExecutionEnded) -> Line:
    if event.error is None:
        return f"execution ended: {event.status}", {"status": event.status.value}
    words = f"execution ended: {event.status}, {event.error.code}: {event.error.message[:MOST_TEXT]}"
    return words, {"status": event.status.value, "error": event.error.code}


_LINE_OF: Final[dict[type, Callable[[Any], Line]]] = {
    ExecutionStarted: _execution_started,
    TaskSkipped: _task_skipped,
    AttemptStarted: _attempt_started,
    AttemptEnded: _attempt_ended,
    AttemptLost: _attempt_lost,
    AttemptCancelled: _attempt_cancelled,
    SignalReceived: _signal_received,
    AttemptReleased: _attempt_released,
    RetryScheduled: _retry_scheduled,
    Routed: _routed,
    ExecutionQuarantined: _execution_quarantined,
    ExecutionEnding: _execution_ending,
    ExecutionEnded: _execution_ended,
}


class LogObserver:
    """Writes what has become durable to the logger `flow_manager.execution`."""

    def __init__(self) -> None:
        self._log = logging.getLogger("flow_manager.execution")

    def recorded(self, view: View, events: Sequence[Event]) -> None:
        least = self._log.getEffectiveLevel()
        if least > logging.WARNING and not isinstance(events[-1], ExecutionQuarantined):
            return  # a quarantine is the one thing that is worse, and always the last of its step
        for event in events:
            level = _LEVELS.get(type(event)) or _level(event)
            if level >= least:
                self._write(view, event, level)

    def _write(self, view: View, event: Event, level: int) -> None:
        words, fields = _LINE_OF[type(event)](event)
        # A record made by hand: finding the caller's line costs more than all the rest, and would
        # always find this one.
        record = logging.LogRecord(self._log.name, level, __file__, 0, words, (), None)
        record.__dict__.update(fields, execution_id=view.execution_id, flow_id=view.flow_id)
        record.created = event.at.timestamp()
        self._log.handle(record)


def _level(event: Event) -> int:
    """The level of an event whose kind alone does not tell it."""
    if isinstance(event, AttemptEnded):
        return logging.INFO if event.outcome == "success" else logging.WARNING
    return logging.WARNING if isinstance(event, ExecutionEnded) and event.error else logging.INFO


_LEVELS: Final[dict[type, int]] = {
    ExecutionStarted: logging.INFO,
    AttemptStarted: logging.INFO,
    TaskSkipped: logging.INFO,
    AttemptCancelled: logging.INFO,
    SignalReceived: logging.INFO,
    ExecutionEnding: logging.WARNING,
    AttemptLost: logging.WARNING,
    AttemptReleased: logging.INFO,
    RetryScheduled: logging.INFO,
    Routed: logging.INFO,
    ExecutionQuarantined: logging.ERROR,
}


_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": format_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            text = orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except orjson.JSONEncodeError:  # text that is no UTF-8, or a value without end
            text = orjson.dumps({name: _storable(value) for name, value in line.items()}).decode()
        if text.isprintable():
            return text
        return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    """What JSON may hold as it is and a terminal takes for a command, as JSON writes it otherwise."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _storable(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


class TextFormatter(logging.Formatter):
    """Time, level, execution and sentence, for people."""

    _COLOURS: Final = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[1;31m"}

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        execution_id = record.__dict__.get("execution_id")
        # A UUIDv7 begins with the time; its end is what tells two executions of a moment apart.
        whose = f"[{str(execution_id)[-12:]}] " if execution_id else ""
        line = f"{at} {record.levelname:<7} {whose}{_printable(record.getMessage())}"
        if self._coloured and record.levelno in self._COLOURS:
            line = f"{self._COLOURS[record.levelno]}{line}\x1b[0m"
        if record.exc_info:
            line += "\n" + _printable(self.formatException(record.exc_info), keep="\n")
        return line


def _printable(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)


def set_up_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Send the logs of this process to `stream` (stderr), as `text`, `json`, or `auto`: text on a
    terminal and JSON otherwise. What was set up before is replaced."""
    stream = stream or sys.stderr
    is_terminal = stream.isatty()
    formatter = (
        TextFormatter(coloured=is_terminal)
        if style == "text" or (style == "auto" and is_terminal)
        else JsonFormatter()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("flow_manager").setLevel(level.upper())
