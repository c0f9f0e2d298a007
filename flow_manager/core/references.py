"""References: whether the results that expressions read can be there."""

from __future__ import annotations

from flow_manager.core.definition import Flow
from flow_manager.core.findings import Findings


def find_bad_references(flow: Flow, errors: Findings, warnings: Findings) -> None:
    """What expressions read of tasks that do not exist, or that no route has run before."""
