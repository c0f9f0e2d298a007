"""Published flows in the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import apsw

from flow_manager.errors import ExpectationMissing, FlowChanged, FlowUnknown, StoreDamaged
from flow_manager.ports.publishing import ANY_VERSION, NewVersion, Publication, Version
from flow_manager.stores.sqlite.commands import Doing
from flow_manager.stores.sqlite.rows import from_micros, to_micros, to_text

_NO_VERSION: Final = 1 << 62
"""A number that no version reaches."""


class SqliteShelfReader:
    """Implements `ports.publishing.ShelfReader`, as a part of the reader."""

    _each: Callable[..., list[Any]]

    def published(self, limit: int, after: str = "") -> Sequence[Version]:
        return self._each(_version, "published_flows", after, limit)

    def versions_of(self, flow_id: str, limit: int, before: int | None = None) -> Sequence[Version]:
        return self._each(_version, "versions_of_flow", flow_id, before or _NO_VERSION, limit)

    def version_of(self, flow_id: str, version: int | None) -> Version | None:
        found = self._each(_version, "version_of_flow", flow_id, version)
        return found[0] if found else None

    def document_of(self, digest: str) -> bytes:
        found = self._each(bytes, "definition", bytes.fromhex(digest))
        if not found or sha256(found[0]).hexdigest() != digest:
            raise StoreDamaged(f"the flow with the digest {digest[:16]} is damaged or missing")
        text: bytes = found[0]
        return text


class SqliteShelf:
    """Implements the writing half of `ports.publishing.Shelf`, as a part of the store."""

    work: Callable[[Callable[[Doing], Any]], Awaitable[Any]]

    def publish(self, new: NewVersion) -> Awaitable[Publication]:
        return self.work(lambda doing: _publish(doing.connection, doing.sql, new))

    def unpublish(self, flow_id: str, at: datetime, expected: str | None = None) -> Awaitable[None]:
        return self.work(lambda doing: _unpublish(doing.connection, doing.sql, flow_id, at, expected))


def _publish(connection: apsw.Connection, sql: Mapping[str, str], new: NewVersion) -> Publication:
    flow, at = new.flow, to_micros(new.at)
    last = _newest(connection, sql, flow.id)
    current = None if last is None or last.is_deleted else last
    if current is not None and current.digest == flow.digest:
        return Publication(current, is_new=False)
    if current is not None and new.expected is None:
        raise ExpectationMissing(
            f"flow {flow.id!r} is published already, as version {current.version}: say which version this "
            "one takes the place of"
        )
    _check(current, flow.id, new.expected)
    number = 1 if last is None else last.version + 1
    connection.execute(sql["add_definition"], (bytes.fromhex(flow.digest), flow.id, flow.document))
    connection.execute(sql["add_version"], (flow.id, number, bytes.fromhex(flow.digest), at, to_text(new.by)))
    connection.execute(sql["publish_flow"], (flow.id, number, at))
    return Publication(
        Version(flow.id, number, flow.digest, flow.name, from_micros(at), to_text(new.by)), True
    )


def _unpublish(
    connection: apsw.Connection, sql: Mapping[str, str], flow_id: str, at: datetime, expected: str | None
) -> None:
    last = _newest(connection, sql, flow_id)
    if last is None or last.is_deleted:
        raise FlowUnknown(f"no flow is published under the id {flow_id[:128]!r}")
    _check(last, flow_id, expected)
    connection.execute(sql["unpublish_flow"], (flow_id, to_micros(at)))


def _newest(connection: apsw.Connection, sql: Mapping[str, str], flow_id: str) -> Version | None:
    row = connection.execute(sql["version_of_flow"], (flow_id, None)).fetchone()
    return None if row is None else _version(*row)


def _check(current: Version | None, flow_id: str, expected: str | None) -> None:
    """Whether the version that a change is meant for is the newest one."""
    if expected is None or (expected == ANY_VERSION and current is not None):
        return
    if current is None:
        raise FlowChanged(f"flow {flow_id!r} is not published, so no version of it is the newest one")
    if expected != current.tag:
        raise FlowChanged(
            f"the newest version of flow {flow_id!r} is {current.version} by now; look at it and try again"
        )


def _version(*row: Any) -> Version:
    flow_id, version, digest, name, published_at, publisher, is_deleted = row
    return Version(
        flow_id,
        version,
        digest.hex(),
        (name or b"").decode(errors="replace"),
        from_micros(published_at),
        publisher.decode(errors="replace"),
        bool(is_deleted),
    )
