"""Retention: how long ended executions are kept, and what a store does about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

KEYS_KEPT: Final = timedelta(hours=24)
"""How long an idempotency key is kept at least, also if its execution goes before."""


class Retention(msgspec.Struct, frozen=True):
    """What ended executions are kept. None: no bound.

    Those that ended longer than `keep` ago go. While the store uses more than `most_bytes`, the oldest
    that have ended go as well.
    """

    keep: timedelta | None = None
    most_bytes: int | None = None

    @property
    def is_bounded(self) -> bool:
        return self.keep is not None or self.most_bytes is not None


UNBOUNDED: Final = Retention()


class Prune(msgspec.Struct, frozen=True):
    """One small step of pruning. It looks at executions from the oldest, after `after`: the store's own
    name for a place among them."""

    now: datetime
    retention: Retention
    after: bytes = b""


class Pruned(msgspec.Struct, frozen=True):
    """What came of a step: the executions that went, the rows removed altogether, the pages given back
    to the disk, and the digests of the flows that went because nothing uses them any more.

    `after` is where the next step goes on. `is_done`: there is nothing to do at the moment; `is_over`:
    the store uses more than it may.
    """

    executions: int
    rows: int
    pages: int
    definitions: Sequence[str]
    after: bytes
    is_done: bool
    is_over: bool
