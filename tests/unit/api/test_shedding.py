"""Requests with a body are refused early when there is no place for one."""

from __future__ import annotations

import pytest

from flow_manager.api.room import Room
from flow_manager.api.shedding import Shedding


@pytest.mark.parametrize(
    ("places", "method", "is_shed"), [(0, "POST", True), (1, "POST", False), (0, "GET", False)]
)
def test_what_has_a_body_and_finds_no_place_is_shed(places: int, method: str, is_shed: bool) -> None:
    refusal = Shedding(Room(places)).refusal({"REQUEST_METHOD": method})

    assert (refusal is not None) == is_shed


def test_who_is_shed_is_told_as_everybody_is_who_finds_no_place() -> None:
    environ = {"REQUEST_METHOD": "POST", "HTTP_X_REQUEST_ID": "mine"}

    refusal = Shedding(Room(0)).refusal(environ)

    assert refusal is not None
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "1")
    assert refusal.headers["X-Request-Id"] == "mine"
    assert refusal.json is not None
    assert (refusal.json["type"], refusal.json["instance"]) == ("/problems/overloaded", "/requests/mine")


def test_a_place_that_is_given_back_is_free_again() -> None:
    bodies = Room(1)
    with bodies:
        assert Shedding(bodies).refusal({"REQUEST_METHOD": "POST"}) is not None

    assert Shedding(bodies).refusal({"REQUEST_METHOD": "POST"}) is None
