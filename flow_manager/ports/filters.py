"""Filters as people write them: in the query of an address, and as options of a command."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from flow_manager.core.document_words import ERROR_CODE, ID, LABEL, LINE
from flow_manager.core.problems import nearest
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.ports.search import MOST_LABELS_ASKED, Filter

MOST_TEXT: Final = 256
"""Characters of a text to look for, and of the value of a label."""

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_STATUSES: Final = tuple(status.value for status in ExecutionStatus)
_REASONS: Final = tuple(reason.value for reason in WakeReason)
_A_TIME: Final = "ISO 8601 with a zone, such as 2026-01-01T00:00:00Z (in an address, + is %2B)"


class Fault(NamedTuple):
    """A part of a filter that cannot be read: its name, a code, and what would be right."""

    name: str
    code: str
    right: str


def _flow_id(text: str) -> str:
    return _matching(text, ID)


def _version(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < 1:
        raise ValueError("not a number from 1 on")
    return int(text)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(_matching(text, r".{1,64}"))
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    return moment.astimezone(UTC)


def _error(text: str) -> str:
    return _matching(text, ERROR_CODE)


def _text(text: str) -> str:
    return _line(text, least=1)


def _line(text: str, least: int) -> str:
    text.encode()  # a command line may hold bytes that are no text: a UnicodeEncodeError is a ValueError
    return _matching(text, rf"(?=.{{{least},{MOST_TEXT}}}$){LINE}")


def _matching(text: str, pattern: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError("it does not match")
    return text


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "flow_id": _flow_id,
    "version": _version,
    "status": ExecutionStatus,
    "since": _moment,
    "until": _moment,
    "error": _error,
    "reason": WakeReason,
    "q": _text,
}

_FAULTS: Final = {
    "flow_id": ("bad-name", "the id of a flow"),
    "version": ("out-of-range", "a whole number from 1 on"),
    "status": ("unknown-status", f"one of {', '.join(_STATUSES)}"),
    "since": ("bad-time", _A_TIME),
    "until": ("bad-time", _A_TIME),
    "error": ("bad-name", "a code of an error, or the beginning of one up to a dot"),
    "reason": ("unknown-reason", f"one of {', '.join(_REASONS)}"),
    "q": ("bad-text", f"one line of 1 to {MOST_TEXT} characters"),
}

_CHOICES: Final = {"status": _STATUSES, "reason": _REASONS}

FILTERS: Final = (*_READERS, "label")
"""The names of the parts of a filter; `label` can be given several times."""


def read_filter(parts: Mapping[str, str], labels: Sequence[str]) -> tuple[Filter, Sequence[Fault]]:
    """The filter, and everything in it that cannot be read. Labels are written `name:value`."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, read in _READERS.items():
        if name in parts:
            try:
                values[name] = read(parts[name])
            except (ValueError, OverflowError):
                faults.append(_fault(name, parts[name]))
    if "version" in parts and "flow_id" not in parts:
        faults.append(Fault("version", "required", "a version is one of a flow: give its flow_id as well"))
    text = values.pop("q", None)
    return Filter(**values, text=text, labels=_read_labels(labels, faults)), faults


def _fault(name: str, text: str) -> Fault:
    code, right = _FAULTS[name]
    likely = nearest(text, _CHOICES.get(name, ()))
    return Fault(name, code, f"{right}; did you mean {likely}?" if likely else right)


def _read_labels(texts: Sequence[str], faults: list[Fault]) -> tuple[tuple[str, str], ...]:
    if len(texts) > MOST_LABELS_ASKED:
        faults.append(Fault("label", "too-many", f"up to {MOST_LABELS_ASKED} labels"))
        return ()
    labels = []
    for text in texts:
        name, colon, value = text.partition(":")
        try:
            _matching(colon, ":")
            labels.append((_matching(name, LABEL), _line(value, least=0)))
        except ValueError:
            faults.append(Fault("label", "bad-label", "the name of a label, a colon, and its value"))
    return tuple(labels)
