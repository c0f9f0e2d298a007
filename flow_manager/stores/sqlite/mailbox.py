"""Mail in the store: sent to open executions, kept until it is taken up. Called by the ledger only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import apsw
import msgspec

from flow_manager.core.mail import Mail
from flow_manager.errors import ApprovalOver, ExecutionOver, ExecutionUnknown, NotAsSeen, TooMuchMail
from flow_manager.ports.store import NewMail
from flow_manager.stores.sqlite.gate import Gate
from flow_manager.stores.sqlite.rows import end_checksum, from_micros, to_micros, to_some_key, to_text

LIFE: Final = 1 << 32
"""The epochs of one life of an execution: no claim of an earlier one can have had one of the next."""
MOST_SIGNALS: Final = 2_000
"""Signals that may wait to be taken up by one execution."""
MOST_BYTES: Final = 4 << 20
"""Bytes that they may carry together: whoever claims the execution reads them all."""


class Mailbox:
    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], gate: Gate) -> None:
        self._db = connection
        self._sql = sql
        self._gate = gate

    def send(self, mail: NewMail) -> bool:
        """False if nothing had to be sent, since the same is on its way. Raises what `Store.send` raises."""
        key, name = to_some_key(mail.execution_id), to_text(mail.name)
        if mail.seen is not None:
            self._open_as_seen(key, mail)
        self._must_be_open(key, mail.execution_id)
        if mail.kind == "cancel" and self._has(key, "cancel"):
            return False
        self._pass_gate(key, mail)
        payload, at = msgspec.json.encode(mail.payload).decode(), to_micros(mail.at)
        if mail.kind == "signal":
            self._must_have_room(key, len(payload))
        if mail.kind == "answer":
            is_first = not self._has(key, "answer", name)
            number = self._db.execute(self._sql["send_answer"], (key, name, at)).get if is_first else None
            if number is None:
                raise ApprovalOver(
                    "this question was answered already, or nobody waits for its answer any more"
                )
        else:
            number = self._db.execute(self._sql["send_mail"], (key, mail.kind, name, at)).get
        row = (key, number, at, mail.kind, name, payload, to_text(mail.by))
        self._db.execute(self._sql["add_mail"], row)
        return True

    def _open_as_seen(self, key: bytes, mail: NewMail) -> None:
        """Open the execution again if it has ended. Nothing has changed if this is refused."""
        is_as_seen = self._db.execute(self._sql["as_seen"], (key, mail.seen)).get
        status, ended_at, last_seq = None, 0, 0
        if is_as_seen is None:
            found = self._db.execute(self._sql["ended_as_seen"], (key,)).fetchone()
            status, ended_at, last_seq = found or (None, 0, 0)
            is_as_seen = status is not None and last_seq == mail.seen
        if not is_as_seen:
            raise NotAsSeen("the execution is being worked on, or was asked for something else; look again")
        if mail.slot is not None:
            self._gate.must_admit(key, mail.slot)
        if status is not None:
            self.reopen(key, status, ended_at, last_seq, mail.at)

    def _pass_gate(self, key: bytes, mail: NewMail) -> None:
        """Whoever goes on needs a slot; whoever is to be held, or to end with nothing to undo, needs none.
        Only a rerun may bring another input, and so another key."""
        if mail.slot is not None:
            self._gate.enter(key, mail.slot, mail.at, may_keep=mail.kind != "rerun")
        elif mail.kind in ("cancel", "pause"):
            self._gate.leave_line(key, mail.at)

    def reopen(self, key: bytes, status: str, ended_at: int, last_seq: int, at: datetime) -> None:
        """An execution that had ended is open again, and due."""
        checksum = end_checksum(key, status, ended_at)
        lives = self._db.execute(self._sql["reopen_execution"], (checksum, key)).get
        self._db.execute(self._sql["count_ended"], (status, -1))
        self._db.execute(
            self._sql["add_wake"], (key, "due", to_micros(at), (lives - 1) * LIFE, last_seq, "", 0)
        )

    def _has(self, key: bytes, kind: str, name: str | None = None) -> bool:
        """Whether such mail waits to be taken up."""
        return bool(self._db.execute(self._sql["has_mail"], (key, kind, name)).get)

    def _must_have_room(self, key: bytes, size: int) -> None:
        found = self._db.execute(self._sql["weigh_mail"], (key,)).fetchone()
        count, carried = found or (0, 0)
        if count >= MOST_SIGNALS:
            raise TooMuchMail(f"{MOST_SIGNALS} signals wait to be taken up; nothing was sent")
        if count and carried + size > MOST_BYTES:
            raise TooMuchMail(
                f"the signals that wait to be taken up carry {carried >> 10} KiB, and may carry "
                f"{MOST_BYTES >> 10} KiB together; nothing was sent"
            )

    def _must_be_open(self, key: bytes, execution_id: str) -> None:
        if self._db.execute(self._sql["newest_mail"], (key,)).fetchone() is not None:
            return
        if self._db.execute(self._sql["digest_of"], (key,)).fetchone() is None:
            raise ExecutionUnknown(f"no execution has the id {execution_id[:64]!r}")
        raise ExecutionOver("the execution has ended; nothing was sent")

    def of(self, key: bytes) -> tuple[Mail, ...]:
        """What waits to be taken up, in order."""
        rows = self._db.execute(self._sql["mail_of"], (key,))
        return tuple(
            Mail(number, from_micros(at), kind, name, msgspec.json.decode(payload), sender)
            for number, at, kind, name, payload, sender in rows
        )

    def taken(self, rows: Sequence[tuple[bytes, int]]) -> None:
        """It is in the history now."""
        if rows:
            self._db.executemany(self._sql["take_mail"], rows)

    def empty(self, keys: Iterable[bytes]) -> None:
        """These have ended and take nothing up any more."""
        self._db.executemany(self._sql["drop_mail"], [(key,) for key in keys])
