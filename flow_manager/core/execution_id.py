"""The id of an execution as people write it."""

from __future__ import annotations

import re
from typing import Final

from flow_manager.errors import ExecutionUnknown

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_execution_id(text: str) -> str:
    """The id in the form in which it is stored. Raises `ExecutionUnknown` for what can be no id."""
    lower = text.lower()
    if not _UUID.fullmatch(lower):
        raise ExecutionUnknown("an execution is named by a UUID, and this is none")
    return lower
