"""The database as an operator handles it: copied, put back, made smaller, brought up to date.

Everything but `back_up` and the dry run of `prune` needs the database for itself, and raises `StoreLocked`
while another process owns it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from flow_manager.ports.retention import Retention


class Copied(msgspec.Struct, frozen=True):
    """A copy that was verified. `kept` is where the file is now that stood there before."""

    path: str
    bytes: int
    schema: int
    kept: str | None = None


class Upgraded(msgspec.Struct, frozen=True):
    """The versions of the schema before and after."""

    before: int
    after: int


class Shrunk(msgspec.Struct, frozen=True):
    """How many executions went, or would go, and the size of the file before and after. `is_over`: it uses
    more than it may."""

    executions: int
    bytes_before: int
    bytes_after: int
    is_over: bool


class Database(Protocol):
    def back_up(self, target: Path, *, force: bool = False) -> Copied:
        """A consistent copy, also while somebody writes. It appears under its name when it is whole,
        verified and synced, or not at all. Raises `TargetExists` unless `force`."""

    def restore(self, source: Path, *, force: bool = False) -> Copied:
        """Put a backup in the place of the database. With `force` the file that is there is kept beside
        it; without, `TargetExists` is raised. Raises `StoreDamaged` and `StoreNewer` of the backup."""

    def upgrade(self) -> Upgraded:
        """Bring the schema up to date."""

    def prune(self, now: datetime, retention: Retention) -> Shrunk:
        """Remove what need not be kept, and give the space back."""

    def would_prune(self, now: datetime, retention: Retention) -> Shrunk:
        """How many executions are older than they need be kept; nothing is changed."""
