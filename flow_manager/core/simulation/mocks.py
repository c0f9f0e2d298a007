"""What a simulation is told: results in place of task bodies, signals, and faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from flow_manager.core.definition import Flow, Outcome, Task
from flow_manager.core.document_words import Duration, ErrorCode, LabelValue, Name, Text
from flow_manager.core.findings import Findings
from flow_manager.core.misfits import find_unknown_names
from flow_manager.core.plain import Path, shown
from flow_manager.core.results import TaskError
from flow_manager.core.simulation.virtual_execution import NO_TIME, Answer
from flow_manager.core.steps import LAST_STEPS
from flow_manager.errors import InvalidRequest

MOST_MOCKS: Final = 10_000
"""Mocks of one task; also signals, and faults."""
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When simulations begin, if they do not say."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)

SENT: Final = frozenset({"signal", "approval"})
"""Task types that wait for something that is sent."""
SELF_MADE: Final = frozenset({"transform", *LAST_STEPS})
"""Task types whose result is there at once, made by the flow itself."""

_READ = ConfigDict(strict=True, extra="ignore")
_Model = TypeVar("_Model", bound=BaseModel)


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise PydanticCustomError("wrong-type", "a time is a text such as 2026-01-05T09:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("bad-time", "not a time: {reason}", {"reason": str(error)}) from error
    if moment.tzinfo is None:
        raise PydanticCustomError("bad-time", "a time needs its zone, such as Z or +02:00")
    if not EARLIEST <= moment <= LATEST:
        raise PydanticCustomError("out-of-range", "a time is between the years 1970 and 9000")
    return moment.astimezone(UTC)


Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]


class MockError(BaseModel):
    """The error of an attempt that fails."""

    model_config = _READ

    code: ErrorCode = Field("task.failed", description="Code of the error.")
    message: Text = Field("", description="What went wrong, in words.")
    retryable: bool = Field(True, description="Whether another attempt may help.")
    details: Any = Field(None, description="More about it.")


class Mock(BaseModel):
    """What one attempt of a task comes to. By default it succeeds at once."""

    model_config = _READ

    outcome: Outcome | None = Field(None, description="Default: failure with an error, else success.")
    data: Any = Field(None, description="The data of the result; the payload of a signal or an answer.")
    message: Text = Field("", description="The message of the result.")
    error: MockError | None = Field(None, description="The error of an attempt that does not succeed.")
    duration: Duration | None = Field(None, description="How long it takes. Default: no time.")
    by: LabelValue = Field("", description="Who sends the signal, or the answer.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.error is not None and self.outcome == "success":
            raise PydanticCustomError("schema", "an attempt that succeeds has no error")
        return self

    def answer(self) -> Answer:
        """The same, as a virtual execution takes it."""
        outcome = self.outcome or ("success" if self.error is None else "failure")
        error = None if outcome == "success" else self._error(outcome)
        message = self.message or ("" if error is None else error.message)
        return Answer(outcome, message, self.data, error, self.duration or NO_TIME, self.by)

    def _error(self, outcome: Outcome) -> TaskError:
        if self.error is None:
            code, retryable = _CODES[outcome]
            return TaskError(code, self.message or f"the mock says {outcome}", retryable)
        message = self.error.message or self.message or self.error.code
        return TaskError(self.error.code, message, self.error.retryable, self.error.details)


_CODES: Final[Mapping[Outcome, tuple[str, bool]]] = {
    "failure": ("task.failed", True),
    "timeout": ("task.timeout", True),
    "unknown": ("task.lost", False),
}
"""The code of the error that a mock does not name, and whether another attempt may help."""


_MOCKS: Final = TypeAdapter(Annotated[list[Mock], Field(min_length=1, max_length=MOST_MOCKS)])


class SentSignal(BaseModel):
    """A signal that is sent to the execution."""

    model_config = _READ

    name: Name = Field(description="Name of the signal.")
    payload: Any = Field(None, description="What goes with it.")
    by: LabelValue = Field("", description="Who sends it.")
    after: Duration | None = Field(None, description="When: so long after the start. Default: at the start.")


class Fault(BaseModel):
    """Something that goes wrong around a task, once."""

    model_config = _READ

    after: str = Field(description="The task after whose start it happens.")
    do: Literal["crash"] = Field("crash", description="crash: the worker dies.")


class Simulation(BaseModel):
    """What a flow is simulated with. A task of a child is called by its parents' names and its own:
    `parent/child`."""

    model_config = _READ

    input: dict[str, Any] = Field(default_factory=dict, description="Input of the execution.")
    labels: dict[Name, LabelValue] = Field(default_factory=dict, description="Its labels.")
    mocks: dict[str, Annotated[list[Mock], Field(min_length=1, max_length=MOST_MOCKS)]] = Field(
        default_factory=dict,
        description="By task: what its attempts come to, in order; the last one repeats.",
    )
    signals: list[SentSignal] = Field(default_factory=list, max_length=MOST_MOCKS, description="Signals.")
    faults: list[Fault] = Field(default_factory=list, max_length=MOST_MOCKS, description="What goes wrong.")
    now: Moment = Field(START, description="When it begins. Default: 2026-01-01T00:00:00Z.")
    chance: float = Field(
        0.5, ge=0, lt=1, description="The random share of waits with jitter, from 0 to below 1."
    )


def read_simulation(written: Mapping[str, Any], flow: Flow, at: Path, errors: Findings) -> Simulation | None:
    """What is written at this place; whether it fits the flow, `errors` says."""
    find_unknown_names(written, Simulation.model_fields, at, errors)
    return read_known(Simulation, written, flow, at, errors)


def read_known(
    model: type[_Model], written: Mapping[str, Any], flow: Flow, at: Path, errors: Findings
) -> _Model | None:
    """A simulation, or what is more than one; its own names were looked at before."""
    _find_unknown_names_within(written, at, errors)
    _find_unknown_tasks(written, flow, at, errors)
    try:
        simulation = model.model_validate(dict(written))
    except ValidationError as error:
        add_misfits(error, at, errors)
        return None
    if isinstance(simulation, Simulation):
        _find_unfit_mocks(simulation, flow, at, errors)
        _find_unfit_faults(simulation, flow, at, errors)
    return simulation


def read_mocks(written: object, at: Path, errors: Findings) -> list[Mock]:
    """Mocks that stand by themselves; `errors` says what is wrong with them."""
    _find_unknown_names_of_mocks(written, at, errors)
    try:
        return _MOCKS.validate_python(written)
    except ValidationError as error:
        add_misfits(error, at, errors)
        return []


def add_misfits(error: ValidationError, at: Path, errors: Findings) -> None:
    """What pydantic says, as findings."""
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(step for step in each["loc"] if step != "[key]")
        code = each["type"] if "-" in each["type"] else "schema"
        errors.add((*at, *path), code, each["msg"])


def places_of(flow: Flow, path: str = "") -> Iterator[str]:
    """The names of all tasks, those of children with the names of the tasks above them."""
    for task in flow.tasks.values():
        yield path + task.name
        if task.child is not None:
            yield from places_of(task.child, f"{path}{task.name}/")


def task_at(flow: Flow, place: str) -> Task | None:
    """The task of this name."""
    *above, name = place.split("/")
    for step in above:
        parent = flow.tasks.get(step)
        if parent is None or parent.child is None:
            return None
        flow = parent.child
    return flow.tasks.get(name)


def _find_unknown_names_within(written: Mapping[str, Any], at: Path, errors: Findings) -> None:
    mocks = written.get("mocks")
    for place, listed in mocks.items() if isinstance(mocks, dict) else ():
        _find_unknown_names_of_mocks(listed, (*at, "mocks", place), errors)
    for name, model in (("signals", SentSignal), ("faults", Fault)):
        listed = written.get(name)
        for index, each in enumerate(listed if isinstance(listed, list) else ()):
            find_unknown_names(each, model.model_fields, (*at, name, index), errors)


def _find_unknown_names_of_mocks(listed: object, at: Path, errors: Findings) -> None:
    for index, mock in enumerate(listed if isinstance(listed, list) else ()):
        find_unknown_names(mock, Mock.model_fields, (*at, index), errors)
        if isinstance(mock, dict):
            find_unknown_names(mock.get("error"), MockError.model_fields, (*at, index, "error"), errors)


def _find_unknown_tasks(written: Mapping[str, Any], flow: Flow, at: Path, errors: Findings) -> None:
    mocks, faults = written.get("mocks"), written.get("faults")
    named: list[tuple[Path, Any]] = []
    if isinstance(mocks, dict):
        named += [((*at, "mocks", place), place) for place in mocks]
    for index, fault in enumerate(faults if isinstance(faults, list) else ()):
        if isinstance(fault, dict):
            named.append(((*at, "faults", index, "after"), fault.get("after")))
    unknown = [(here, each) for here, each in named if isinstance(each, str) and task_at(flow, each) is None]
    known = list(places_of(flow)) if unknown else []
    for here, place in unknown:
        detail = f"there is no task {shown(place)}; one of a child is called parent/child"
        errors.add(here, "unknown-task", detail, like=(place, known))


def _find_unfit_mocks(simulation: Simulation, flow: Flow, at: Path, errors: Findings) -> None:
    for place, mocks in simulation.mocks.items():
        here, task = (*at, "mocks", place), task_at(flow, place)
        if task is None:
            continue
        if task.type in SELF_MADE or task.type == "wait":
            errors.add(here, "schema", f"a task of type {task.type} does what it says, and takes no mock")
            continue
        for index, mock in enumerate(mocks):
            detail = _unfit(mock, task.type)
            if detail:
                errors.add((*here, index), "schema", detail)


def _find_unfit_faults(simulation: Simulation, flow: Flow, at: Path, errors: Findings) -> None:
    for index, fault in enumerate(simulation.faults):
        task = task_at(flow, fault.after)
        if task is not None and task.type in SELF_MADE:
            detail = f"a task of type {task.type} has its result at once: nothing can crash"
            errors.add((*at, "faults", index, "after"), "schema", detail)


def _unfit(mock: Mock, task_type: str) -> str:
    return _unfit_sending(mock, task_type) if task_type in SENT else _unfit_result(mock)


def _unfit_result(mock: Mock) -> str:
    if mock.by:
        return "only signals and answers are sent by somebody"
    is_object = mock.data is None or isinstance(mock.data, dict)
    return "" if is_object else "the data of a result is an object"


def _unfit_sending(mock: Mock, task_type: str) -> str:
    if mock.outcome not in (None, "success", "timeout") or mock.error is not None:
        return f"a mock of a task of type {task_type} is what is sent, or the outcome timeout"
    if task_type == "approval" and mock.outcome != "timeout":
        approved = mock.data.get("approved") if isinstance(mock.data, dict) else None
        if not isinstance(approved, bool):
            return "the answer to an approval is data with 'approved', true or false"
    return ""


def parse_simulation(written: object, flow: Flow) -> Simulation:
    """The simulation that a JSON value asks for. Raises `InvalidRequest` with all problems."""
    errors = Findings()
    simulation = None
    if isinstance(written, dict):
        simulation = read_simulation(written, flow, (), errors)
    else:
        errors.add((), "wrong-type", "a simulation is an object")
    if simulation is None or errors:
        problems = errors.problems(written)
        raise InvalidRequest(f"this cannot be simulated: {problems[0].detail}", problems)
    return simulation
