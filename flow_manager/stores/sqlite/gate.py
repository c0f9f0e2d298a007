"""The gate: which executions may come in, and which of those must wait. Called by the ledger and the mailbox.

Everything is decided and written in the transaction of the start, one start after the other, so those of one
batch know of each other. An execution that an operator opens again comes in here as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import apsw
import msgspec

from flow_manager.core.states import FAR_AWAY, Wake, WakeReason
from flow_manager.errors import (
    ConcurrencyFull,
    ExecutionPruned,
    FlowManagerError,
    KeyConflict,
    RateLimited,
    StartedBefore,
)
from flow_manager.ports.store import NewExecution, Rate, Slot, Terms
from flow_manager.stores.sqlite.rows import from_key, to_key, to_micros

Rows = list[tuple[Any, ...]]

_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000


class Gate:
    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._db = connection
        self._sql = sql
        # As long as no flow has slots, ends need not look for any.
        self.has_slots = bool(connection.execute(sql["any_slot"]).get)

    def admit_all(
        self, starts: Sequence[NewExecution]
    ) -> tuple[list[NewExecution], dict[str, FlowManagerError]]:
        """Those that come in, and why the others do not."""
        admitted: list[NewExecution] = []
        refused: dict[str, FlowManagerError] = {}
        for new in starts:
            answer = self.admit(new)
            if isinstance(answer, FlowManagerError):
                refused[new.execution_id] = answer
            else:
                admitted.append(answer)
        return admitted, refused

    def admit(self, new: NewExecution) -> NewExecution | FlowManagerError:
        """The execution as it comes in, or why it does not; then nothing was written."""
        terms = new.terms
        if terms is None:
            return new
        refusal = self._taken(terms) or self._too_many(terms.slot)
        if refusal is not None:
            return refusal
        now = to_micros(new.started_at)
        if terms.rate is not None:
            wait = self._spend(terms.rate, now)
            if wait:
                detail = f"flow {new.flow_id!r} was started as often as it may be; again in {wait} s"
                return RateLimited(detail, wait)
        key = to_key(new.execution_id)
        if terms.key is not None:
            self._db.execute(self._sql["add_key"], (terms.key, key, terms.fingerprint, now))
        if terms.slot is None or self._take(key, terms.slot, now, "limit_slots"):
            return new
        return msgspec.structs.replace(new, wake=Wake(WakeReason.SLOT, FAR_AWAY, terms.slot.key))

    def must_admit(self, key: bytes, slot: Slot) -> None:
        """Raises `ConcurrencyFull` if an execution that is to go on under this slot may not even wait."""
        if not self._has(key, slot.key):
            limit = self._db.execute(self._sql["limit_of_slots"], (slot.key,)).get or slot.limit
            refusal = self._too_many(msgspec.structs.replace(slot, limit=limit))
            if refusal is not None:
                raise refusal

    def enter(self, key: bytes, slot: Slot, at: datetime, *, may_keep: bool) -> None:
        """Have an open execution that nobody works on go on under a slot: it takes one, or waits for one.
        One that has a place under this key stays as it is, with `may_keep` under any key; another slot it
        gives back."""
        if self._has(key, None if may_keep else slot.key):
            return
        self.has_slots = True
        self.ended([(key,)], at)
        if self._take(key, slot, to_micros(at), "keep_limit"):
            self._db.execute(self._sql["leave_line"], (to_micros(at), key))
        else:
            self._db.execute(self._sql["wait_for_slot"], (to_micros(FAR_AWAY), slot.key, key))

    def leave_line(self, key: bytes, at: datetime) -> None:
        """One that waits for a slot is due without one, to be held or to end; not if it is to be undone."""
        if not self._db.execute(self._sql["has_mail"], (key, "cancel", None)).get:
            self._db.execute(self._sql["leave_line"], (to_micros(at), key))

    def rank(self, starts: Sequence[NewExecution]) -> None:
        """Note the priorities of executions that have just been created."""
        ranked = [
            (new.terms.priority, to_key(new.execution_id))
            for new in starts
            if new.terms and new.terms.priority
        ]
        if ranked:
            self._db.executemany(self._sql["set_priority"], ranked)

    def ended(self, rows: Rows, at: datetime) -> None:
        """Take back the slots of executions that have ended, and give them to those that wait. A row
        begins with the key of its execution."""
        if not self.has_slots:
            return
        for row in rows:
            freed: Rows = self._db.execute(self._sql["free_slots"], row[:1]).fetchall()
            for (slot_key,) in freed:
                self._free(slot_key, to_micros(at))

    def serve(self, key: bytes, slot_key: str, at: datetime) -> None:
        """Take back what an execution holds that has ended unnoticed, and give what is free to those that
        wait for the same as this one."""
        self.has_slots = True
        self.ended([(key,)], at)
        if slot_key:
            self._free(slot_key, to_micros(at))

    def _taken(self, terms: Terms) -> StartedBefore | None:
        if terms.key is None:
            return None
        found = self._db.execute(self._sql["key_of_start"], (terms.key,)).fetchone()
        if found is None:
            return None
        key, fingerprint, is_pruned = found
        execution_id = from_key(key)
        if fingerprint != terms.fingerprint:
            since = ", and that was pruned" if is_pruned else ""
            detail = f"this idempotency key was used for another request, which has started {execution_id}"
            return KeyConflict(detail + since, execution_id)
        if is_pruned:
            detail = (
                f"this request has started execution {execution_id}, which has ended and was pruned since"
            )
            return ExecutionPruned(detail, execution_id)
        return StartedBefore("an execution was started by this request before", execution_id)

    def _has(self, key: bytes, slot_key: str | None) -> bool:
        """Whether an execution has this slot, or any if none is named, or waits for it."""
        return bool(self._db.execute(self._sql["has_slot"], (key, slot_key)).get)

    def _too_many(self, slot: Slot | None) -> ConcurrencyFull | None:
        if slot is None or not slot.refuses or self._used(slot.key, slot.limit) < slot.limit:
            return None
        return ConcurrencyFull(
            f"as many executions with the concurrency key {slot.key!r} are open as may be, {slot.limit}"
        )

    def _spend(self, rate: Rate, now: int) -> int:
        """The generic cell rate algorithm: 0 if the start is within the rate, and counted; otherwise the
        seconds after which it would be. Source: ITU-T I.371, virtual scheduling."""
        interval = rate.interval // _MICROSECOND
        free_at = self._db.execute(self._sql["rate_of_flow"], (rate.flow_id,)).get
        free_at = now if free_at is None else max(now, free_at)
        ahead = free_at - now - interval * (rate.burst - 1)
        if ahead > 0:
            return -(-ahead // _SECOND)
        self._db.execute(self._sql["set_rate"], (rate.flow_id, free_at + interval))
        return 0

    def _take(self, key: bytes, slot: Slot, now: int, limiting: str) -> bool:
        """Take a slot for an execution; False if there is none, and so it has to wait. `limiting` is the
        statement that says what becomes of the limit."""
        self.has_slots = True
        self._db.execute(self._sql[limiting], (slot.key, slot.limit))
        used, limit = self._give(slot.key, now)
        if used >= limit:
            return False
        self._db.execute(self._sql["take_slot"], (slot.key, key))
        return True

    def _free(self, slot_key: str, now: int) -> None:
        """Give what is free of a key to those that wait. When nobody has any, its limit is forgotten."""
        used, _ = self._give(slot_key, now)
        if not used:
            self._db.execute(self._sql["forget_limit"], (slot_key,))

    def _give(self, slot_key: str, now: int) -> tuple[int, int]:
        """Give the free slots of a key to those that wait: of the highest priority, the one that was
        started first. How many have one then, and how many may."""
        limit = self._db.execute(self._sql["limit_of_slots"], (slot_key,)).get or 1
        used = self._used(slot_key, limit)
        while used < limit:
            waiting = self._next(slot_key)
            if waiting is None:
                break
            self._db.execute(self._sql["take_slot"], (slot_key, waiting))
            self._db.execute(self._sql["give_slot"], (now, waiting))
            used += 1
        return used, limit

    def _next(self, slot_key: str) -> bytes | None:
        for priority in (1, 0, -1):
            found = self._db.execute(self._sql["next_for_slot"], (slot_key, priority)).fetchone()
            if found is not None:
                waiting: bytes = found[0]
                return waiting
        return None

    def _used(self, slot_key: str, limit: int) -> int:
        used: int = self._db.execute(self._sql["count_slots"], (slot_key, limit)).get
        return used
