"""The log: every start and end of a task, every condition, every routing decision, every error.

One line per event, for people on a terminal, as one JSON object otherwise. What comes from
flows and tasks is data in both: control characters are escaped and cannot forge a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from flow_manager.core.attempts import format_time
from flow_manager.core.events import Event, ExecutionQuarantined
from flow_manager.core.view import View
from flow_manager.observers.lines import LEVELS, level_of, line_of


class LogObserver:
    """Writes what has become durable to the logger `flow_manager.execution`."""

    def __init__(self) -> None:
        self._log = logging.getLogger("flow_manager.execution")

    def recorded(self, view: View, events: Sequence[Event]) -> None:
        least = self._log.getEffectiveLevel()
        if least > logging.WARNING and not isinstance(events[-1], ExecutionQuarantined):
            return  # a quarantine is the one thing that is worse, and always the last of its step
        for event in events:
            level = LEVELS.get(type(event)) or level_of(event)
            if level >= least:
                self._write(view, event, level)

    def _write(self, view: View, event: Event, level: int) -> None:
        words, fields = line_of(event)
        # A record made by hand: finding the caller's line costs more than all the rest, and would
        # always find this one.
        record = logging.LogRecord(self._log.name, level, __file__, 0, words, (), None)
        record.__dict__.update(fields, execution_id=view.execution_id, flow_id=view.flow_id)
        record.created = event.at.timestamp()
        self._log.handle(record)


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
