"""The body of execute and validate, and a flow file: a flow document and what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

from flow_manager.core.document import MOST_LABELS
from flow_manager.core.document_words import LABEL, LINE
from flow_manager.core.problems import nearest, pointer
from flow_manager.errors import InvalidRequest, Problem

_MEMBERS: Final = ("flow", "input", "labels")
_LABEL_NAME: Final = re.compile(LABEL)
_LABEL_VALUE: Final = re.compile(LINE)
MOST_LABEL_TEXT: Final = 255


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """The body of execute and validate, or a flow file: a flow document, and what stands beside its `flow`.

    `problems` are those of the members beside `flow`; the document is judged by the backend.
    """

    document: Mapping[str, Any]
    input: Mapping[str, Any]
    labels: Mapping[str, str]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, body: object) -> Self:
        """Take a JSON value apart. A bare document has nothing beside it. Raises `InvalidRequest`."""
        if not isinstance(body, dict):
            detail = "a flow document is an object"
            raise InvalidRequest(detail, [Problem("#", "wrong-type", detail)])
        if len(body) == 1 or "flow" not in body:
            return cls(body, {}, {}, ())
        problems = [_unknown_member(name) for name in body if name not in _MEMBERS and name[:2] != "x-"]
        given, labels = body.get("input", {}), body.get("labels", {})
        if not isinstance(given, dict):
            problems.append(Problem("#/input", "wrong-type", "the input of an execution is an object"))
            given = {}
        if not isinstance(labels, dict):
            problems.append(Problem("#/labels", "wrong-type", "labels are an object of texts"))
            labels = {}
        problems += label_problems(labels)
        return cls({"flow": body["flow"]}, given, labels, tuple(problems))


def _unknown_member(name: str) -> Problem:
    likely = nearest(name, _MEMBERS)
    hint = f"did you mean {likely!r}?" if likely else "members of your own begin with 'x-'"
    detail = f"beside 'flow' there can be 'input' and 'labels', and not {name[:64]!r}"
    return Problem(pointer(name[:64]), "unknown-field", detail, hint)


def label_problems(labels: Mapping[str, object]) -> Iterator[Problem]:
    """Labels of an execution follow the same rules as those of a flow."""
    if len(labels) > MOST_LABELS:
        yield Problem("#/labels", "too-many", f"there can be at most {MOST_LABELS} labels")
    for name, value in islice(labels.items(), MOST_LABELS):
        where = pointer("labels", name[:64])
        if not _LABEL_NAME.fullmatch(name):
            yield Problem(where, "bad-name", f"the name of a label matches {LABEL}")
        elif not isinstance(value, str):
            yield Problem(where, "wrong-type", "the value of a label is a text")
        elif len(value) > MOST_LABEL_TEXT or not _LABEL_VALUE.fullmatch(value):
            yield Problem(
                where,
                "bad-label",
                f"one line of at most {MOST_LABEL_TEXT} characters, none of them control ones",
            )
