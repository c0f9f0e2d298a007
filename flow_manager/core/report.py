"""The report: what the checks say of a flow document."""

from __future__ import annotations

from dataclasses import dataclass

from flow_manager.core.definition import Flow
from flow_manager.errors import Problem


@dataclass(frozen=True, slots=True)
class Report:
    """All problems of a document at once, in the order of the document.

    `flow` is set if and only if there are no errors. `truncated` says that there are more errors
    than are listed.
    """

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    flow: Flow | None
    truncated: bool = False

    @property
    def is_valid(self) -> bool:
        return self.flow is not None
