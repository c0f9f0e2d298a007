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
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flow_manager.core.children import Children, ParentLink, ToChildren
from flow_manager.core.events import Event
from flow_manager.core.mail import Mail, MailKind
from flow_manager.core.states import ExecutionStatus, Wake
from flow_manager.core.view import View
from flow_manager.core.webhooks import Delivery
from flow_manager.errors import FlowManagerError
from flow_manager.ports.backend import ChildSummary, Summary, Violation
from flow_manager.ports.figures import StoreFigures
from flow_manager.ports.live import News
from flow_manager.ports.publishing import Shelf, ShelfReader
from flow_manager.ports.retention import Prune, Pruned
from flow_manager.ports.search import Filter, Found
from flow_manager.ports.webhooks import Outbox

if TYPE_CHECKING:
    from flow_manager.ports.scheduling import ScheduleReader, ScheduleStore


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
    to its creator at once, under epoch 1. `children` begin together with it, and
    what is told of it goes into the `outbox`."""

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
    outbox: Sequence[Delivery] = ()
    terms: Terms | None = None


class Step(msgspec.Struct, frozen=True):
    """What one step adds to an execution: events after number `last_seq`, and its new wake.

    `at` is the time of the step. No wake means that the execution has ended, with `status`; `parent`
    then hears of it. Mail after number `mail` is not known to the writer: an execution to which some
    was sent is due at once instead of parking, and does not end. `taken` are the numbers of the mail
    that these events have taken up. `outbox` is what is told of the step.
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
    outbox: Sequence[Delivery] = ()


class NewMail(msgspec.Struct, frozen=True):
    """Something to be sent to an open execution; see `core.mail`."""

    execution_id: str
    at: datetime
    kind: MailKind
    name: str = ""
    payload: Any = None
    by: str = ""
    seen: int | None = None
    """The number of the last event that the sender has looked at, if what is sent holds for that alone: it
    is then refused with `NotAsSeen` if the execution has moved on, is being worked on, or was asked for
    something else. An execution that has ended is opened again for it."""
    slot: Slot | None = None
    """What it needs to go on with this. One that does not have it takes it, or waits for it with the wake
    `slot`; if it may not wait, an opening is refused with `ConcurrencyFull`. Without it, whoever waits for a
    slot is due at once for `pause` and `cancel`, and for nothing else."""


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
    due_at: datetime | None = None
    """Since when it was due, if it was claimed because it was."""


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

    def find(self, wanted: Filter, before: str | None, limit: int) -> Found:
        """Up to `limit` executions that are `wanted`, with an id below `before`. Looks at no more than a
        bounded number of them."""

    def counts(self) -> Mapping[ExecutionStatus, int]:
        """How many executions there are of each status."""

    def news(self, execution_id: str, after: int) -> News:
        """The events after number `after`, but no more than a bounded number of them. Raises
        `ExecutionUnknown` and `StoreDamaged`."""

    def violations(self, *, quick: bool = False) -> Sequence[Violation]:
        """Where one of the truths above does not hold. A quick look is at open executions only."""

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

    @property
    def schedules(self) -> ScheduleReader: ...


class Store(Reader, Shelf, Protocol):
    """The writing side. It belongs to the loop that opened it."""

    outbox: Outbox
    """What steps and starts have put into it."""

    def figures(self) -> StoreFigures:
        """What it has counted; from any thread."""

    async def open(self, now: datetime, die: Callable[[BaseException], None]) -> None:
        """Make due what earlier processes had claimed, and begin to write, for the running loop.
        `die` is called, from any thread, with a fault after which the process must not go on."""

    @property
    def schedules(self) -> ScheduleStore: ...

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        """Create an execution. Under terms, raises `StartedBefore`, `KeyConflict` or `ExecutionPruned` for a
        key that is taken, `RateLimited` and `ConcurrencyFull`: then nothing was created. One that has to wait
        for a slot is created with the wake `slot`; it is due when it gets one, and gives it back with its
        end."""

    def start_all(self, news: Sequence[NewExecution]) -> Awaitable[Sequence[Claim | FlowManagerError]]:
        """Create executions in one transaction; for each its claim, or why it was not created."""

    def commit(self, step: Step) -> Awaitable[Sequence[str]]:
        """Record a step. The answer names those to whom the step has sent mail. Raises `StaleClaim`,
        and `MailUnread` if an execution that ends, or goes on from waiting for mail, met some that the
        writer does not know: it still has its claim."""

    def send(self, mail: NewMail) -> Awaitable[None]:
        """Send something to an open execution; one that waits for it is due at once. Raises
        `ExecutionUnknown`, `ExecutionOver`, `TooMuchMail`, `NotAsSeen` and `ConcurrencyFull`. A second
        cancellation changes nothing."""

    def read_again(self, claim: Claim) -> Awaitable[Claimed]:
        """What is stored of a claimed execution. Raises `StaleClaim`."""

    def look_at_children(
        self, execution_id: str, run: int, attempt: int, with_ends: bool = False
    ) -> Awaitable[Children]:
        """What has become of the children of an attempt; how they ended only `with_ends`. Beyond a
        megabyte of ends their outputs are left out."""

    def mend(self, violation: Violation, now: datetime) -> Awaitable[bool]:
        """Bring what was found in line with the history; whether it could be mended."""

    def set_aside(self, claim: Claim, wake: Wake) -> Awaitable[None]:
        """Park an execution whose history cannot be gone on with; nothing else of it changes.
        Raises `StaleClaim`."""

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        """Claim up to `limit` executions that are due, the longest overdue first. Each gets the
        wake `claim` and an epoch one higher."""

    def prune(self, order: Prune) -> Awaitable[Pruned]:
        """Remove a few executions that have ended and need not be kept, with all that belongs to them.
        Never an open one, nor a child before its parent could go."""

    def agenda(self, now: datetime) -> Agenda:
        """A quick look, for the poller."""

    def stop(self) -> Awaitable[None]:
        """Write what is queued, tidy up, and accept nothing more."""
