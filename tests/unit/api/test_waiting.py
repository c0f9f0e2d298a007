"""How long requests wait, and how many at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flow_manager.api.preferences import Preferences
from flow_manager.api.waiting import NO_WAIT, Patience, WaitingRoom

MINUTE = timedelta(minutes=1)
UNTOLD = Preferences()


def test_all_who_wait_share_the_places_and_the_others_do_not_wait() -> None:
    room = WaitingRoom(1, MINUTE)

    with room.patience(UNTOLD) as first, room.patience(UNTOLD) as second:
        pass
    with room.patience(Preferences(wait=5)) as third:
        pass

    assert first == Patience(MINUTE, True)
    assert second == Patience(NO_WAIT, False)
    assert third == Patience(timedelta(seconds=5), True)


@pytest.mark.parametrize(
    ("preferences", "may_wait", "patience"),
    [
        (Preferences(respond_async=True), True, Patience(NO_WAIT, True)),
        (Preferences(wait=0), True, Patience(NO_WAIT, True)),
        (UNTOLD, False, Patience(NO_WAIT, False)),
    ],
)
def test_who_does_not_wait_takes_no_place(
    preferences: Preferences, may_wait: bool, patience: Patience
) -> None:
    room = WaitingRoom(1, MINUTE)

    with room.patience(preferences, may_wait=may_wait) as told, room.patience(UNTOLD) as other:
        pass

    assert (told, other) == (patience, Patience(MINUTE, True))


def test_a_place_is_given_back_whatever_happens() -> None:
    room = WaitingRoom(1, MINUTE)

    with pytest.raises(ValueError, match="gone"), room.patience(UNTOLD):
        raise ValueError("gone")

    with room.patience(UNTOLD) as patience:
        assert patience.is_as_wanted
