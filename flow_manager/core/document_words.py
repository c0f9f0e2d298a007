"""The words of written documents: which names, texts, lengths of time and schemas may stand in them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.types import StringConstraints
from pydantic_core import PydanticCustomError

from flow_manager.core.durations import (
    ISO_PATTERN,
    LONGEST,
    SIMPLE_PATTERN,
    DurationOutOfRange,
    parse_duration,
)

NAME: Final = r"[A-Za-z][A-Za-z0-9_.-]{0,127}"
NAME_PATTERN: Final = re.compile(NAME)
"""Names of tasks, conditions and task types; to be matched in full."""
ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
LABEL: Final = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
ERROR_CODE: Final = r"[a-z][a-z0-9_.-]{0,127}"
SECRET: Final = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
"""Text without control characters."""
URL: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\\s\x00-\x20\x7f-\x9f]+([/?][^#\\\s\x00-\x20\x7f-\x9f]*)?$"
"""Only the shape: what is called is judged when it is called."""
TEXT: Final = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
"""The same, with tabs and new lines."""


def name_of(pattern: str) -> StringConstraints:
    """A text that matches one of the patterns above."""
    return StringConstraints(pattern=f"^{pattern}$", strict=True)


Name = Annotated[str, name_of(NAME)]
Line = Annotated[str, StringConstraints(pattern=LINE, max_length=256, strict=True)]
LabelValue = Annotated[str, StringConstraints(pattern=LINE, max_length=255, strict=True)]
Text = Annotated[str, StringConstraints(pattern=TEXT, max_length=8192, strict=True)]
ErrorCode = Annotated[str, name_of(ERROR_CODE)]
ExpressionText = Annotated[str, StringConstraints(strict=True, min_length=1)]


def _schema(value: object) -> object:
    if not isinstance(value, dict | bool):
        raise PydanticCustomError("wrong-type", "a schema is an object, or true or false")
    return value


JsonSchema = Annotated[Any, BeforeValidator(_schema), WithJsonSchema({"type": ["object", "boolean"]})]


def _duration(value: object) -> timedelta:
    try:
        return parse_duration(value)
    except DurationOutOfRange as error:
        raise PydanticCustomError("out-of-range", "{detail}", {"detail": str(error)}) from error
    except ValueError as error:
        raise PydanticCustomError("bad-duration", "{detail}", {"detail": str(error)}) from error


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST.total_seconds()},
                {"type": "string", "pattern": f"^(?:{SIMPLE_PATTERN}|{ISO_PATTERN})$"},
            ],
            "examples": [30, "500ms", "5m", "PT30S"],
        }
    ),
]
