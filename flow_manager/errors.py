"""Every error that Flow Manager raises on purpose.

    FlowManagerError
    ├── InvalidInput              what was sent cannot be accepted; carries all its problems
    │   ├── MalformedJson         the bytes are not the JSON that is accepted here
    │   ├── InvalidRequest        readable JSON that is not a valid request
    │   ├── InvalidFlow           readable JSON that is not a valid flow
    │   ├── InvalidSchedule       readable JSON that is not a valid schedule
    │   └── TooLarge              over a size limit, refused before its meaning was looked at
    ├── SettingsError             a setting is unknown, unreadable or forbidden
    ├── TaskRegistrationError     a task cannot be registered, or its module not imported
    ├── CursorInvalid             no list gave out this cursor, or another one did
    ├── ExecutionUnknown          no execution has this id
    ├── ExecutionOver             the execution has ended, and nothing can be sent to it
    ├── StateForbids              the execution, as it stands, cannot do what is asked
    │   └── NotAsSeen             it is not as the sender saw it, or is being worked on
    ├── SignalUnknown             no task of the flow waits for a signal of this name
    ├── TooMuchMail               as many signals as may be wait to be taken up
    ├── ApprovalUnknown           nobody gave out this token
    ├── ApprovalOver              the question was answered already, or is out of date
    ├── NotAsked                  somebody answered who was not asked
    ├── FlowUnknown               no flow is published under this id, or no such version of it
    ├── ExpectationMissing        a published flow is to be changed, and nobody said which version
    ├── FlowChanged               the version that a change is meant for is not the newest one
    ├── StartedBefore             an execution was started with this idempotency key, by the same request
    │   ├── KeyConflict           the same, but it was another request
    │   └── ExecutionPruned       the same, and the execution was removed since
    ├── RateLimited               the flow may be started only so often
    ├── ConcurrencyFull           so many executions of the flow are open as may be
    ├── ScheduleUnknown           no schedule has this id
    ├── ScheduleConflict          the schedule was changed meanwhile
    ├── TargetExists              a file would be overwritten
    ├── Overloaded                full; the same call may succeed after `retry_after` seconds
    ├── ShuttingDown              stopping; nothing new is accepted
    ├── ServiceUnreachable        no answer from a service, as often as it was asked
    ├── ProblemError              a service answered with a problem; see its `status` and `type`
    └── StoreError                the store cannot do what was asked
        ├── StoreLocked           another process owns the file
        ├── StoreFull             no space left on the device; nothing was written
        ├── StoreReadOnly         the file or its folder cannot be written
        ├── StoreDamaged          the file is not a sound database; it was left untouched
        ├── StoreNewer            the schema was written by a newer version
        ├── OutcomeUnknown        a commit was sent and its fate is not known
        ├── MailUnread            something was sent that the writer does not know; nothing was written
        └── StaleClaim            the writer no longer owns the execution; nothing was written

Each class has a stable, dotted `code`. HTTP statuses and exit codes are chosen at the edges
(`api.problems`, `cli.output`), never here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of an input.

    `pointer` is a JSON Pointer in URI-fragment form (`#/flow/tasks/0/name`); `code` is short,
    stable and kebab-case; `detail` is a sentence; `hint` says what would be right.
    `line` and `column` count from 1, `offset` from 0 in characters; they are known only where
    the text itself could not be read.
    """

    pointer: str
    code: str
    detail: str
    hint: str | None = None
    line: int | None = None
    column: int | None = None
    offset: int | None = None

    def to_json(self) -> dict[str, object]:
        """The problem as it appears in answers; what is not known is left out."""
        members: dict[str, object] = {
            "pointer": self.pointer,
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
            "line": self.line,
            "column": self.column,
            "offset": self.offset,
        }
        return {name: value for name, value in members.items() if value is not None}


class FlowManagerError(Exception):
    """Base of all. The message says what happened and what to do about it."""

    code: ClassVar[str] = "flow_manager.error"


class InvalidInput(FlowManagerError):
    """Refused input. `problems` holds everything that is wrong with it, never just the first."""

    code = "input.invalid"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class MalformedJson(InvalidInput):
    code = "input.malformed_json"


class InvalidRequest(InvalidInput):
    code = "input.invalid_request"


class InvalidFlow(InvalidInput):
    code = "flow.invalid"


class InvalidSchedule(InvalidInput):
    code = "schedule.invalid"


class TooLarge(InvalidInput):
    code = "input.too_large"


class SettingsError(FlowManagerError):
    code = "settings.invalid"


class TaskRegistrationError(FlowManagerError):
    code = "task.registration"


class CursorInvalid(FlowManagerError):
    code = "cursor.invalid"


class ExecutionUnknown(FlowManagerError):
    code = "execution.unknown"


class ExecutionOver(FlowManagerError):
    code = "execution.over"


class StateForbids(FlowManagerError):
    code = "execution.state"


class NotAsSeen(StateForbids):
    code = "execution.not_as_seen"


class SignalUnknown(FlowManagerError):
    code = "signal.unknown"


class TooMuchMail(FlowManagerError):
    code = "signal.too_many"


class ApprovalUnknown(FlowManagerError):
    code = "approval.unknown"


class ApprovalOver(FlowManagerError):
    code = "approval.over"


class NotAsked(FlowManagerError):
    code = "approval.not_asked"


class FlowUnknown(FlowManagerError):
    code = "flow.unknown"


class ExpectationMissing(FlowManagerError):
    code = "flow.expectation_missing"


class FlowChanged(FlowManagerError):
    code = "flow.changed"


class StartedBefore(FlowManagerError):
    """`execution_id` is that of the execution, which is what the request asks for."""

    code = "start.known"

    def __init__(self, message: str, execution_id: str = "") -> None:
        super().__init__(message, execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return str(self.args[0])


class KeyConflict(StartedBefore):
    code = "start.key_conflict"


class ExecutionPruned(StartedBefore):
    code = "start.pruned"


class RateLimited(FlowManagerError):
    """`retry_after` is in whole seconds."""

    code = "start.rate_limited"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class ConcurrencyFull(FlowManagerError):
    code = "start.concurrency_full"


class ScheduleUnknown(FlowManagerError):
    code = "schedule.unknown"


class ScheduleConflict(FlowManagerError):
    code = "schedule.conflict"


class TargetExists(FlowManagerError):
    code = "database.target_exists"


class Overloaded(FlowManagerError):
    """Full. `retry_after` is in whole seconds."""

    code = "service.overloaded"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDown(FlowManagerError):
    code = "service.stopping"


class ServiceUnreachable(FlowManagerError):
    code = "service.unreachable"


class ProblemError(FlowManagerError):
    """A service answered with a problem (RFC 9457). `type` is its kind without `/problems/`, `problems`
    are the faults of what was sent."""

    code = "service.problem"

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        type: str = "",
        instance: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.type = type
        self.instance = instance
        self.problems = tuple(problems)


class StoreError(FlowManagerError):
    code = "store.error"


class StoreLocked(StoreError):
    code = "store.locked"


class StoreFull(StoreError):
    code = "store.full"


class StoreReadOnly(StoreError):
    code = "store.read_only"


class StoreDamaged(StoreError):
    code = "store.damaged"


class StoreNewer(StoreError):
    code = "store.newer"


class OutcomeUnknown(StoreError):
    code = "store.outcome_unknown"


class MailUnread(StoreError):
    code = "store.mail_unread"


class StaleClaim(StoreError):
    code = "store.stale_claim"
