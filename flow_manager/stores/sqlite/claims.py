"""Claims in the store: what is due, with all that is needed to go on. Called by the ledger only."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import apsw
import msgspec

from flow_manager.errors import StaleClaim
from flow_manager.ports.store import Claim, Claimed
from flow_manager.stores.sqlite.commands import ClaimDue
from flow_manager.stores.sqlite.mailbox import Mailbox
from flow_manager.stores.sqlite.rows import UNREADABLE, events_of_rows, from_key, from_micros, to_micros

Rows = list[tuple[Any, ...]]

PRIORITIES: Final = (1, 0, -1)
"""From the highest to the lowest."""


class Claims:
    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], mailbox: Mailbox) -> None:
        self._db = connection
        self._sql = sql
        self._mailbox = mailbox

    def due(self, command: ClaimDue) -> list[Claimed]:
        now = to_micros(command.now)
        due: Rows = []
        for priority in PRIORITIES:
            left = command.limit - len(due)
            if left:
                due += self._db.execute(self._sql["due_wakes"], (priority, now, left)).fetchall()
        self._db.executemany(self._sql["claim_wake"], [(now, row[0]) for row in due])
        definitions: dict[bytes, bytes] = {}
        claimed = []
        for key, epoch, last_seq, newest, due_at in due:
            each = self._claimed(Claim(from_key(key), key, epoch + 1), last_seq, newest, definitions)
            claimed.append(msgspec.structs.replace(each, due_at=from_micros(due_at)))
        return claimed

    def again(self, claim: Claim) -> Claimed:
        found = self._db.execute(self._sql["last_of_claim"], (claim.key, claim.epoch)).fetchone()
        if found is None:
            raise StaleClaim("this claim is no longer the current one")
        last_seq, newest_mail = found
        return self._claimed(claim, last_seq, newest_mail, {})

    def _claimed(
        self, claim: Claim, last_seq: int, newest_mail: int, definitions: dict[bytes, bytes]
    ) -> Claimed:
        key = claim.key
        found = self._db.execute(self._sql["digest_of"], (key,)).fetchone()
        digest: bytes = b"" if found is None else found[0]
        if digest not in definitions:
            definitions[digest] = self._definition(digest)
        history = events_of_rows(key, self._db.execute(self._sql["events_of"], (key,)))
        try:
            mail = self._mailbox.of(key) if newest_mail else ()
        except (msgspec.MsgspecError, ValueError, TypeError):  # damage: it stops this execution and no other
            mail, history = (), [UNREADABLE]
        return Claimed(claim, last_seq, definitions[digest], digest.hex(), history, mail, newest_mail)

    def _definition(self, digest: bytes) -> bytes:
        """The text of a flow; empty, which no parser accepts, if it is damaged or missing."""
        found = self._db.execute(self._sql["definition"], (digest,)).fetchone()
        text: bytes = b"" if found is None else found[0]
        return text if sha256(text).digest() == digest else b""
