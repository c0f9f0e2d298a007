"""Published flows, put into the tables as they stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from flow_manager.core.parser import FlowParser


def publish(path: Path, document: dict[str, Any], version: int = 1) -> str:
    """Publish a flow, as its newest version; the answer is its id."""
    flow = FlowParser().parse(document)
    digest = bytes.fromhex(flow.digest)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    with connection:
        connection.execute(
            "INSERT OR IGNORE INTO definitions (digest, flow_id, text) VALUES (?, ?, ?)",
            (digest, flow.id, flow.document),
        )
        connection.execute(
            "INSERT INTO flows (id, newest, is_deleted, changed_at) VALUES (?1, ?2, 0, 0)"
            " ON CONFLICT DO UPDATE SET newest = ?2, is_deleted = 0",
            (flow.id, version),
        )
        connection.execute(
            "INSERT INTO versions (flow_id, version, digest, published_at, publisher)"
            " VALUES (?, ?, ?, 0, '')",
            (flow.id, version, digest),
        )
    connection.close()
    return flow.id


def delete_flow(path: Path, flow_id: str) -> None:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.execute("UPDATE flows SET is_deleted = 1 WHERE id = ?", (flow_id,))
    connection.close()
