"""The published OpenAPI document, made strict: answers may hold what it names, and nothing else."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec

from flow_manager.core import answers, capsule_answers, flow_answers, schedule_answers


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, in which types of answers have no further members."""
    strict = deepcopy(document)
    schemas = strict["components"]["schemas"]
    for module in (answers, capsule_answers, flow_answers, schedule_answers):
        for name, kind in vars(module).items():
            is_ours = isinstance(kind, type) and kind.__module__ == module.__name__
            if is_ours and issubclass(kind, msgspec.Struct) and name in schemas and name != "ProblemDetails":
                schemas[name]["additionalProperties"] = False
    return strict
