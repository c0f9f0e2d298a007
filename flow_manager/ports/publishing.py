"""Published flows: documents under an id, in versions that never change.

An execution is bound to the document that it was started with, so publishing changes nothing about those
that are under way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from flow_manager.core.attempts import format_time
from flow_manager.core.definition import Flow

ANY_VERSION: Final = "*"
"""What is expected by whoever changes a flow whatever its newest version is."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a published flow, without its document. They are numbered from 1. `digest` is the
    SHA-256 of the document, `by` who published it. `is_deleted` says that the flow is not published now."""

    flow_id: str
    version: int
    digest: str
    name: str
    published_at: datetime
    by: str = ""
    is_deleted: bool = False

    @property
    def tag(self) -> str:
        """What tells it from every other version of every other document."""
        return f"{self.version}-{self.digest[:16]}"

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.flow_id,
            "version": self.version,
            "name": self.name,
            "digest": self.digest,
            "published_at": format_time(self.published_at),
            "by": self.by,
        }


@dataclass(frozen=True, slots=True)
class Publication:
    """What has come of publishing: the newest version, and whether it is a new one."""

    version: Version
    is_new: bool


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A document to be published. `expected` is the tag of the version that it takes the place of, or
    `ANY_VERSION`; None if it takes the place of none."""

    flow: Flow
    at: datetime
    by: str = ""
    expected: str | None = None


class ShelfReader(Protocol):
    """What is needed of a store to read published flows."""

    def published(self, limit: int, after: str = "") -> Sequence[Version]:
        """The newest version of each published flow, in the order of their ids, from those after `after`."""

    def versions_of(self, flow_id: str, limit: int, before: int | None = None) -> Sequence[Version]:
        """The newest first, from those before number `before`; also of a flow that was deleted."""

    def version_of(self, flow_id: str, version: int | None) -> Version | None:
        """A version, or the newest one; also of a flow that was deleted."""

    def document_of(self, digest: str) -> bytes:
        """The text of a document. Raises `StoreDamaged` if it is not there as it was stored."""


class Shelf(ShelfReader, Protocol):
    """What is needed of a store to publish flows."""

    def publish(self, new: NewVersion) -> Awaitable[Publication]:
        """Add a version, unless its document is that of the newest one. Raises `ExpectationMissing` and
        `FlowChanged`."""

    def unpublish(self, flow_id: str, at: datetime, expected: str | None = None) -> Awaitable[None]:
        """Mark a flow as deleted. Raises `FlowUnknown` and `FlowChanged`."""


class Flows(Protocol):
    """The published flows, as the API and other parts use them. Calls block their caller."""

    def publish(
        self, flow_id: str, document: object, *, expected: str | None = None, by: str = ""
    ) -> Publication:
        """Publish a flow document (bare, or wrapped in `flow`) under its own id. The same document as
        that of the newest version adds none. `expected` is the `tag` of the newest version, or
        `ANY_VERSION`; the first publication, and the first one after a deletion, needs none.

        Raises `InvalidFlow` with all its problems: those of the document, another id than `flow_id`, and
        golden cases that fail. Raises `ExpectationMissing`, `FlowChanged`, and what `Backend.execute`
        raises."""

    def flows(self, *, limit: int = 50, after: str = "") -> Sequence[Version]:
        """The newest version of each published flow, by id."""

    def flow(self, flow_id: str) -> Version:
        """The newest version. Raises `FlowUnknown`."""

    def versions(self, flow_id: str, *, limit: int = 50, before: int | None = None) -> Sequence[Version]:
        """All versions, the newest first; also of a flow that was deleted. Raises `FlowUnknown`."""

    def version(self, flow_id: str, version: int | None = None) -> Flow:
        """The flow of a version, or of the newest one, for starting it. Raises `FlowUnknown`, also if the
        flow was deleted."""

    def startable(self, flow_id: str, version: int | None = None) -> tuple[Version, Flow]:
        """The same, together with the version that it is."""

    def document(self, flow_id: str, version: int) -> tuple[Version, bytes]:
        """A version and the text of its document; also of a flow that was deleted. Raises `FlowUnknown`."""

    def delete(self, flow_id: str, *, expected: str | None = None) -> None:
        """Let it be started no more. Its versions and its executions stay; publishing it again goes on
        with the next number. Raises `FlowUnknown` and `FlowChanged`."""
