"""The store: what the native engine needs of a database, in words of the domain.

Writes are awaited on the engine's loop and settle when the transaction has been synced; reads
may come from any thread and block only it. All writes can raise `StoreFull` (nothing was
written; try again later) and `OutcomeUnknown`.

What must always be true:

1. An execution that has not ended has exactly one wake; one that has ended has none.
2. The events of an execution are numbered 1, 2, 3 ... without gaps. An event never changes.
3. Only the holder of the current claim writes: `commit` with an older epoch, or after another
   writer's events, raises `StaleClaim` and changes nothing.
4. Events, wake and status of a step become durable together or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from flow_manager.core.children import Children, ParentLink, ToChildren
from flow_manager.core.events import Event
from flow_manager.core.mail import Mail, MailKind
from flow_manager.core.states import ExecutionStatus, Wake
from flow_manager.core.view import View
from flow_manager.errors import FlowManagerError
from flow_manager.ports.backend import ChildSummary, Summary, Violation
from flow_manager.ports.publishing import Shelf, ShelfReader


class Claim(msgspec.Struct, frozen=True):
    """The right to write to an execution. `key` is the store's own name for the execution."""

    execution_id: str
    key: bytes
    epoch: int


class Slot(msgspec.Struct, frozen=True):
    """Of the executions with this key, at most `limit` go on at once. One for which there is no place waits
    for it, or is refused."""

    key: str
    limit: int
    refuses: bool = False


class Rate(msgspec.Struct, frozen=True):
    """Executions of `flow_id` may be started every `interval` on average, and up to `burst` at once."""

    flow_id: str
    interval: timedelta
    burst: int


class Terms(msgspec.Struct, frozen=True):
    """Under which terms an execution is created. `key` is an idempotency key, `fingerprint` the SHA-256 of
    what was asked for under it. `priority` is -1, 0 or 1."""

    key: str | None = None
    fingerprint: bytes = b""
    priority: int = 0
    slot: Slot | None = None
    rate: Rate | None = None


class NewExecution(msgspec.Struct, frozen=True):
    """An execution to be created with its first events. With a wake of reason `claim` it belongs
    to its creator at once, under epoch 1. `children` begin together with it."""

    execution_id: str
    flow_id: str
    definition: str
    digest: str
    started_at: datetime
    events: Sequence[Event]
    wake: Wake | None
    status: ExecutionStatus
    parent: ParentLink | None = None
    children: Sequence[NewExecution] = ()
    terms: Terms | None = None


class Step(msgspec.Struct, frozen=True):
    """What one step adds to an execution: events after number `last_seq`, and its new wake.

    `at` is the time of the step. No wake means that the execution has ended, with `status`; `parent`
    then hears of it. Mail after number `mail` is not known to the writer: an execution to which some
    was sent is due at once instead of parking, and does not end. `taken` are the numbers of the mail
    that these events have taken up.
    """

    claim: Claim
    last_seq: int
    events: Sequence[Event]
    wake: Wake | None
    status: ExecutionStatus
    at: datetime
    mail: int = 0
    taken: Sequence[int] = ()
    parent: ParentLink | None = None
    children: Sequence[NewExecution] = ()
    to_children: Sequence[ToChildren] = ()


class NewMail(msgspec.Struct, frozen=True):
    """Something to be sent to an open execution; see `core.mail`."""

    execution_id: str
    at: datetime
    kind: MailKind
    name: str = ""
    payload: Any = None
    by: str = ""


class Claimed(msgspec.Struct, frozen=True):
    """A claimed execution: the bytes of its definition and of its events, as stored, and its mail.
    `newest_mail` is the number of the newest, which may be gone by now."""

    claim: Claim
    last_seq: int
    definition: bytes
    digest: str
    history: Sequence[bytes]
    mail: Sequence[Mail] = ()
    newest_mail: int = 0


class Agenda(msgspec.Struct, frozen=True):
    """What waits for a claim: how many executions are due, and when the next one will be."""

    due: int
    next_at: datetime | None


class Reader(ShelfReader, Protocol):
    """The reading side; it works while another process owns the store."""

    def describe(self, execution_id: str) -> View:
        """Raises `ExecutionUnknown`."""

    def history(self, execution_id: str) -> Sequence[Event]:
        """Raises `ExecutionUnknown`."""

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        """The newest first."""

    def violations(self) -> Sequence[Violation]:
        """Where one of the truths above does not hold."""

    def definition(self, execution_id: str) -> tuple[str, bytes]:
        """The digest and the text of the flow that it started with. Raises `ExecutionUnknown` and
        `StoreDamaged`."""

    def children(self, execution_id: str) -> Sequence[ChildSummary]:
        """The children of an execution, in the order of their start; the first thousand."""

    def claims(self) -> Sequence[Claim]:
        """The live claims."""

    def open_executions(self) -> int:
        """How many have not ended."""

    def key(self) -> bytes:
        """A secret of this store, made with it: whoever signs with it is known again."""

    def describe_store(self) -> Mapping[str, Any]:
        """Kind, place, schema version and size, for health."""

    def close(self) -> None: ...


class Store(Reader, Shelf, Protocol):
    """The writing side. It belongs to the loop that opened it."""

    async def open(self, now: datetime, die: Callable[[BaseException], None]) -> None:
        """Make due what earlier processes had claimed, and begin to write, for the running loop.
        `die` is called, from any thread, with a fault after which the process must not go on."""

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        """Create an execution. Under terms, raises `StartedBefore` or `KeyConflict` for a key that is taken,
        `RateLimited` and `ConcurrencyFull`: then nothing was created. One that has to wait for a slot is
        created with the wake `slot`; it is due when it gets one, and gives it back with its end."""

    def start_all(self, news: Sequence[NewExecution]) -> Awaitable[Sequence[Claim | FlowManagerError]]:
        """Create executions in one transaction; for each its claim, or why it was not created."""

    def commit(self, step: Step) -> Awaitable[Sequence[str]]:
        """Record a step. The answer names those to whom the step has sent mail. Raises `StaleClaim`,
        and `MailUnread` if an execution that ends, or goes on from waiting for mail, met some that the
        writer does not know: it still has its claim."""

    def send(self, mail: NewMail) -> Awaitable[None]:
        """Send something to an open execution; one that waits for it is due at once. Raises
        `ExecutionUnknown`, `ExecutionOver`, and `TooMuchMail`. A second cancellation changes nothing."""

    def read_again(self, claim: Claim) -> Awaitable[Claimed]:
        """What is stored of a claimed execution. Raises `StaleClaim`."""

    def look_at_children(
        self, execution_id: str, run: int, attempt: int, with_ends: bool = False
    ) -> Awaitable[Children]:
        """What has become of the children of an attempt; how they ended only `with_ends`. Beyond a
        megabyte of ends their outputs are left out."""

    def set_aside(self, claim: Claim, wake: Wake) -> Awaitable[None]:
        """Park an execution whose history cannot be gone on with; nothing else of it changes.
        Raises `StaleClaim`."""

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        """Claim up to `limit` executions that are due, the longest overdue first. Each gets the
        wake `claim` and an epoch one higher."""

    def agenda(self, now: datetime) -> Agenda:
        """A quick look, for the poller."""

    def stop(self) -> Awaitable[None]:
        """Write what is queued, tidy up, and accept nothing more."""
