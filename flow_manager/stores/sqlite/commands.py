"""What the journal is asked to write: values, one for each verb of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import apsw

from flow_manager.core.states import Wake
from flow_manager.errors import FlowManagerError
from flow_manager.ports.retention import Prune
from flow_manager.ports.store import Claim, NewExecution, NewMail, Step


@dataclass(frozen=True, slots=True)
class ClaimDue:
    """Claim up to `limit` executions that are due at `now`."""

    now: datetime
    limit: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """Park an execution as it is."""

    claim: Claim
    wake: Wake


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """Read what is stored of a claimed execution."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class LookAtChildren:
    """Read what has become of the children of an attempt."""

    execution_id: str
    run: int
    attempt: int
    with_ends: bool


@dataclass(frozen=True, slots=True)
class StartAll:
    """Create these executions, those that may be."""

    news: Sequence[NewExecution]


@dataclass(frozen=True, slots=True)
class Doing:
    """The inside of a transaction: the write connection and the statements, and the means to start executions
    and to send them something. Who starts some is told of each whether it was, as by `Store.start_all`."""

    connection: apsw.Connection
    sql: Mapping[str, str]
    start: Callable[[Sequence[NewExecution]], Mapping[str, Claim | FlowManagerError]]
    send: Callable[[NewMail], object]

    def run(self, name: str, bindings: Sequence[Any] = ()) -> int:
        """Carry out a statement; the answer is how many rows it has changed."""
        self.connection.execute(self.sql[name], tuple(bindings))
        return self.connection.changes()

    def rows(self, name: str, bindings: Sequence[Any] = ()) -> list[Any]:
        return self.connection.execute(self.sql[name], tuple(bindings)).fetchall()


@dataclass(frozen=True, slots=True)
class Work:
    """What is done seldom, inside a transaction. What it wrote is taken back if it raises a
    `FlowManagerError`, which is then its answer; it never waits for anything."""

    write: Callable[[Doing], Any]


Command = (
    NewExecution | Step | ClaimDue | SetAside | NewMail | ReadAgain | LookAtChildren | Prune | StartAll | Work
)
