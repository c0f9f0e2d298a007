from __future__ import annotations

from collections.abc import Mapping

import pytest
from flask.testing import FlaskClient

from tests.support.fake_backend import FakeBackend
from tests.unit.api.conftest import kind_of


class FakeMetrics:
    def page(self, accept: str) -> tuple[str, bytes]:
        return "text/plain; version=0.0.4; charset=utf-8", f"# {accept}\n".encode()

    def set_violations(self, counts: Mapping[str, int]) -> None: ...


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain",
        "text/plain;version=0.0.4;q=0.5",
        "application/openmetrics-text;version=1.0.0",
        "*/*",
        "application/json",
    ],
)
def test_metrics_are_text(client: FlaskClient, backend: FakeBackend, accept: str) -> None:
    backend.metrics = FakeMetrics()

    answer = client.get("/metrics", headers={"Accept": accept})

    assert (answer.status_code, answer.get_data(as_text=True)) == (200, f"# {accept}\n")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "accept", "expected"),
    [
        ("/metrics", "image/png", (406, "not-acceptable")),
        ("/health", "text/plain", (406, "not-acceptable")),
        ("/metrics?a=1", "*/*", (422, "invalid-request")),
    ],
)
def test_nothing_else_is(client: FlaskClient, path: str, accept: str, expected: tuple[int, str]) -> None:
    assert kind_of(client.get(path, headers={"Accept": accept})) == expected
