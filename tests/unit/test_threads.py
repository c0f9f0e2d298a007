"""The threads of the service fit into what the system allows."""

from __future__ import annotations

import pytest

from flow_manager.api.server import startable
from flow_manager.bootstrap import fitted, threads_of
from flow_manager.errors import SettingsError
from flow_manager.settings import Settings


def test_settings_that_fit_stay_as_they_are() -> None:
    settings = Settings()

    assert fitted(settings, threads_of(settings)) is settings


@pytest.mark.parametrize("most", [29, 30, 40, 64, 100, 185])
def test_settings_that_do_not_fit_are_cut(most: int) -> None:
    cut = fitted(Settings(), most)

    assert threads_of(cut) <= most
    assert cut.max_waiters < cut.handler_threads
    assert min(cut.max_waiters, cut.max_followers, cut.task_threads) >= 1


def test_nothing_is_made_of_too_few() -> None:
    with pytest.raises(SettingsError, match="ulimit -u"):
        fitted(Settings(), 28)


def test_no_more_threads_are_counted_than_are_asked_for() -> None:
    assert startable(3) == 3
