"""The web application around a fake backend, with Flask's own client: no socket."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flow_manager.api.app import create_app
from flow_manager.settings import Settings
from tests.support.fake_backend import FakeBackend


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def client(backend: FakeBackend) -> FlaskClient:
    return client_of(backend, Settings())


def client_of(backend: FakeBackend, settings: Settings) -> FlaskClient:
    return create_app(backend, settings).test_client()


def problem_of(response: TestResponse) -> dict[str, Any]:
    """The problem in an answer, after a look at what every problem must have."""
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = response.get_json(force=True)
    assert problem["status"] == response.status_code >= 400
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == "/requests/" + response.headers["X-Request-Id"]
    assert "Traceback" not in response.get_data(as_text=True)
    return problem


def kind_of(response: TestResponse) -> tuple[int, str]:
    """The status and the last word of the type of a problem."""
    return response.status_code, problem_of(response)["type"].removeprefix("/problems/")


def codes_of(response: TestResponse) -> list[tuple[str, str]]:
    """Place and code of each of the errors."""
    return [
        (error.get("pointer") or error.get("parameter") or error["header"], error["code"])
        for error in problem_of(response)["errors"]
    ]
