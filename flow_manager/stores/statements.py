"""SQL lives in `.sql` files, as named statements: `-- name: x`, one line of purpose, the statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(package: str, name: str = "statements.sql") -> Mapping[str, str]:
    """The statements of a file of `package`, by name, without their comments."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    parts = _HEADING.split(text)[1:]
    return {heading: _without_comments(body) for heading, body in zip(parts[::2], parts[1::2], strict=True)}


def _without_comments(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
