"""An engine as a library on a file of its own, for the tests that call it from plain threads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flow_manager import bootstrap
from flow_manager.engine.native import NativeBackend
from flow_manager.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database=tmp_path / "a.db", task_modules=("tests.support.service_tasks",))


@pytest.fixture
def backend(settings: Settings) -> Iterator[NativeBackend]:
    """Whatever a test does, nothing may be stuck at its end."""
    backend = bootstrap.open_backend(settings)
    yield backend
    assert list(backend.violations()) == []
    backend.close(timedelta(0))
