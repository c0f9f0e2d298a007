from __future__ import annotations

import logging

import pytest
from flask.testing import FlaskClient

from flow_manager import errors
from flow_manager.api.problems import KINDS
from flow_manager.errors import (
    FlowManagerError,
    InvalidFlow,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    Problem,
    ShuttingDown,
    StaleClaim,
    StoreDamaged,
    StoreFull,
    StoreReadOnly,
    TooLarge,
)
from tests.support.fake_backend import DOCUMENT, EXECUTION, FakeBackend
from tests.unit.api.conftest import codes_of, kind_of, problem_of

FAULT = Problem("#/input", "too-large", "the input is too large")


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (InvalidRequest("the input cannot be accepted", [FAULT]), 422, "invalid-request", None),
        (InvalidFlow("not a flow", [FAULT]), 422, "invalid-flow", None),
        (TooLarge("too large", [FAULT]), 413, "too-large", None),
        (Overloaded("full", retry_after=7), 503, "overloaded", "7"),
        (ShuttingDown("stopping"), 503, "stopping", "5"),
        (StoreFull("no space"), 507, "no-space", "5"),
        (StoreReadOnly("read only"), 503, "read-only", None),
        (OutcomeUnknown("not known"), 503, "outcome-unknown", None),
        (StaleClaim("stale"), 503, "store-unavailable", "5"),
        (StoreDamaged("damaged"), 503, "store-unavailable", "5"),
        (FlowManagerError("what is this"), 500, "internal-error", None),
        (RuntimeError("/etc/secret"), 500, "internal-error", None),
        (RecursionError(), 500, "internal-error", None),
    ],
)
def test_each_error_of_a_start_has_its_status(
    client: FlaskClient,
    backend: FakeBackend,
    error: Exception,
    status: int,
    kind: str,
    retry_after: str | None,
) -> None:
    backend.error = error

    response = client.post("/flow/execute", json=DOCUMENT)

    assert kind_of(response) == (status, kind)
    assert response.headers.get("Retry-After") == retry_after


def test_the_problems_of_an_error_are_listed(client: FlaskClient, backend: FakeBackend) -> None:
    backend.error = InvalidRequest("the input of the execution cannot be accepted", [FAULT])

    response = client.post("/flow/execute", json=DOCUMENT)

    assert codes_of(response) == [("#/input", "too-large")]
    assert problem_of(response)["detail"] == "the input of the execution cannot be accepted"


@pytest.mark.parametrize(
    "path",
    [f"/flow/status/{EXECUTION}", "/v1/executions", f"/v1/executions/{EXECUTION}/history", "/v1/doctor"],
)
def test_a_failure_while_reading_is_told_to_the_log_and_not_to_the_caller(
    client: FlaskClient, backend: FakeBackend, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    backend.error = RuntimeError("the secret is 42")

    with caplog.at_level(logging.ERROR):
        response = client.get(path, headers={"X-Request-Id": "seen-in-the-log"})

    assert kind_of(response) == (500, "internal-error")
    assert "42" not in response.get_data(as_text=True)
    assert "seen-in-the-log" in caplog.text
    assert "the secret is 42" in caplog.text


def test_what_the_store_says_stays_in_the_log(
    client: FlaskClient, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.error = StoreDamaged("/var/lib/flows.db: page 3 is malformed")

    response = client.get("/v1/executions")

    assert "/var/lib" not in response.get_data(as_text=True)
    assert "page 3 is malformed" in caplog.text


def test_every_error_but_those_of_the_start_up_and_of_programs_has_a_kind() -> None:
    of_the_start_up = {errors.FlowManagerError, errors.SettingsError, errors.TaskRegistrationError}
    of_the_client = {errors.ServiceUnreachable, errors.ProblemError}
    of_commands = {errors.TargetExists}
    known = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, FlowManagerError)
    }

    without = {each for each in known if not any(base in KINDS for base in each.__mro__)}

    assert without == of_the_start_up | of_the_client | of_commands
