"""A process that tells a webhook and dies at one point of it:
`python -m tests.faults.webhook_crash DATABASE URL POINT`.

The point is `claimed` (after a delivery was claimed), `sent` (after its destination has taken it),
`forgotten` (after it was deleted), or `-`: then it executes nothing, and exits with 0 as soon as nothing is
left to be told.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flow_manager import bootstrap
from flow_manager.core.parser import FlowParser
from flow_manager.ports.webhooks import ClaimedDelivery
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.outbox import SqliteOutbox
from tests.support.documents import document, task

DIED = 99


class CrashingOutbox(SqliteOutbox):
    point = "-"

    def _reach(self, point: str) -> None:
        if point == self.point:
            os._exit(DIED)

    async def claim(self, *arguments: Any) -> Any:
        claimed = await super().claim(*arguments)
        if claimed:
            self._reach("claimed")
        return claimed

    async def delivered(self, claimed: ClaimedDelivery) -> None:
        self._reach("sent")
        await super().delivered(claimed)
        self._reach("forgotten")


def main(database: Path, url: str, point: str) -> None:
    logging.disable()
    CrashingOutbox.point = point
    with patch("flow_manager.stores.sqlite.store.SqliteOutbox", CrashingOutbox):
        backend = bootstrap.open_backend(Settings(database=database, http_allow=("127.0.0.1",)))
    if point != "-":
        told = document(task("transform", {"a": 1}), on_end={"webhooks": [{"url": url}]})
        print(backend.execute(FlowParser().parse(told), {}).execution_id, flush=True)
    while backend.store.outbox.backlog().pending:
        time.sleep(0.01)
    if point != "-":
        time.sleep(30)  # until the point is reached
    backend.close(timedelta(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
