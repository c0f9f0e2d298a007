"""SQL lives in `.sql` files, as named statements: `-- name: x`, one line of purpose, the statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(package: str) -> Mapping[str, str]:
    """The statements of all `.sql` files of `package`, by name, without their comments."""
    statements: dict[str, str] = {}
    for file in sorted(files(package).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            for name, body in _statements_of(file.read_text(encoding="utf-8")):
                if name in statements:
                    raise ValueError(f"{package} has two statements named {name}")
                statements[name] = body
    return statements


def _statements_of(text: str) -> Iterator[tuple[str, str]]:
    parts = _HEADING.split(text)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        yield name, _without_comments(body)


def _without_comments(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
