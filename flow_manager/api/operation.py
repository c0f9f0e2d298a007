"""An operation: one row of the table that `/openapi.json` is made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flow_manager.api.answers import JSON
from flow_manager.api.problems import (
    BAD_HOST,
    BAD_REQUEST,
    CROSS_ORIGIN,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    MALFORMED_JSON,
    NO_SPACE,
    NOT_ACCEPTABLE,
    OUTCOME_UNKNOWN,
    OVERLOADED,
    READ_ONLY,
    STOPPING,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    Kind,
)
from flow_manager.core.document_words import ID

Schema = Mapping[str, Any]

OF_ALL: Final = (BAD_REQUEST, BAD_HOST, NOT_ACCEPTABLE, INVALID_REQUEST, INTERNAL_ERROR)
"""Problems that every operation can answer with."""
OF_BODIES: Final = (MALFORMED_JSON, CROSS_ORIGIN, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, OVERLOADED)
"""And those that have a body as well."""
OF_READING: Final = (STORE_UNAVAILABLE,)
"""And those that ask the store for something."""
WRITING: Final = (STOPPING, NO_SPACE, READ_ONLY, OUTCOME_UNKNOWN)
"""Problems of whatever is written to the store."""

_IN_PATH: Final = re.compile(r"\{(\w+)\}")

IN_PATHS: Final[Mapping[str, tuple[str, Schema]]] = {
    "execution_id": ("The id of an execution.", {"type": "string", "format": "uuid"}),
    "flow_id": (
        "The id of a published flow.",
        {"type": "string", "pattern": f"^{ID}$", "examples": ["greeting"]},
    ),
    "schedule_id": (
        "The id of a schedule.",
        {"type": "string", "pattern": f"^{ID}$", "examples": ["nightly"]},
    ),
    "version": ("The number of a version.", {"type": "integer", "minimum": 1}),
    "token": ("The last part of the link of a question.", {"type": "string", "minLength": 1}),
}
"""What the parts of paths stand for. A part that is not listed is a text."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header."""

    name: str
    description: str
    schema: Schema
    place: str = "query"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "in": self.place,
            "description": self.description,
            "schema": dict(self.schema),
            **({"required": True} if self.place == "path" else {}),
        }


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request. `schema` makes its JSON Schema, which has a `title`: the `model_json_schema`
    of the model that validates it, say."""

    schema: Callable[[], dict[str, Any]]
    example: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of 2xx. `of` is a type of `core.answers`, or a JSON Schema, or None if it has no body;
    `headers` names what stands there beside the body. Another `content_type` than JSON has the schema of a
    text."""

    description: str
    of: type | Schema | None = str
    headers: Sequence[str] = ()
    content_type: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint: a method and a path.

    `problems` are those beyond what every operation of its sort can answer with. `asks_store` is False
    where the answer comes from memory.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: Mapping[int, Answer]
    area: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    problems: Sequence[Kind] = ()
    asks_store: bool = True

    @property
    def all_parameters(self) -> list[Parameter]:
        """With those that stand in the path, first."""
        in_path = [
            Parameter(name, *IN_PATHS.get(name, (f"The {name}.", {"type": "string"})), place="path")
            for name in _IN_PATH.findall(self.path)
        ]
        return [*in_path, *self.parameters]

    @property
    def all_problems(self) -> Mapping[int, Sequence[Kind]]:
        """The kinds of problems by status, both in order."""
        kinds = [*OF_ALL, *self.problems]
        kinds += OF_BODIES if self.body is not None else ()
        kinds += OF_READING if self.asks_store else ()
        by_status: dict[int, list[Kind]] = {}
        for kind in sorted(dict.fromkeys(kinds), key=lambda kind: kind.status):
            by_status.setdefault(kind.status, []).append(kind)
        return by_status
