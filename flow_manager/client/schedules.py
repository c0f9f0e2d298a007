"""The calls on schedules: what is started by the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flow_manager.client.calls import Calls, decoded, part
from flow_manager.client.connection import Call
from flow_manager.core.answers import Accepted
from flow_manager.core.schedule_answers import (
    Backfilled,
    FireList,
    Schedule,
    ScheduleFire,
    ScheduleList,
    Times,
)
from flow_manager.errors import ScheduleUnknown


class ScheduleCalls(Calls):
    """The part of the client for schedules."""

    def schedules(self, *, limit: int = 50, after: str = "") -> Sequence[Schedule]:
        """The schedules by id, from those after `after`."""
        return self._get("/v1/schedules", ScheduleList, {"limit": limit, "after": after}).schedules

    def schedule(self, schedule_id: str) -> Schedule:
        """A schedule, with its next times."""
        return self._get(_path(schedule_id), Schedule, unknown=ScheduleUnknown)

    def put_schedule(
        self, schedule_id: str, schedule: Mapping[str, Any], *, expected: int | None = None
    ) -> Schedule:
        """Store a schedule. `expected` is the `version` that it takes the place of; 0 if there is none. Sent
        again after a lost answer, such a call may find the schedule changed: by itself."""
        headers = {} if expected is None else {"If-Match": f'"{expected}"'}
        if expected == 0:
            headers = {"If-None-Match": "*"}
        call = Call("PUT", _path(schedule_id), schedule, headers=headers)
        return decoded(self._connection.send(call), Schedule)

    def delete_schedule(self, schedule_id: str, *, expected: int | None = None) -> None:
        """Have a schedule start nothing more. Sent again after a lost answer, it may find it gone."""
        headers = {} if expected is None else {"If-Match": f'"{expected}"'}
        self._connection.send(Call("DELETE", _path(schedule_id), headers=headers, unknown=ScheduleUnknown))

    def pause_schedule(self, schedule_id: str) -> Schedule:
        """Have it start nothing, until it is resumed."""
        return self._post(_path(schedule_id, ":pause"), {}, Schedule, ScheduleUnknown)

    def resume_schedule(self, schedule_id: str) -> Schedule:
        """Have it go on from now."""
        return self._post(_path(schedule_id, ":resume"), {}, Schedule, ScheduleUnknown)

    def trigger_schedule(self, schedule_id: str) -> Accepted:
        """Start it now. Not sent again: asked twice, it would start twice."""
        path = _path(schedule_id, ":trigger")
        call = Call("POST", path, {}, is_repeatable=False, unknown=ScheduleUnknown)
        return decoded(self._connection.send(call), Accepted)

    def backfill_schedule(
        self, schedule_id: str, since: datetime, until: datetime, *, limit: int = 100
    ) -> Backfilled:
        """Start those times of the past that have not been started, the oldest first. Sent again after a lost
        answer, it counts what it has started as started before."""
        body = {"since": since.isoformat(), "until": until.isoformat(), "limit": limit}
        return self._post(_path(schedule_id, ":backfill"), body, Backfilled, ScheduleUnknown)

    def schedule_times(self, schedule_id: str, *, count: int = 10) -> Sequence[datetime]:
        """Its next nominal times."""
        path = _path(schedule_id, "/preview")
        return self._get(path, Times, {"count": count}, ScheduleUnknown).times

    def schedule_fires(self, schedule_id: str, *, limit: int = 50) -> Sequence[ScheduleFire]:
        """What became of its times, the latest first."""
        path = _path(schedule_id, "/fires")
        return self._get(path, FireList, {"limit": limit}, ScheduleUnknown).fires

    def preview_schedule(self, schedule: Mapping[str, Any], *, count: int = 10) -> Sequence[datetime]:
        """The next nominal times of a schedule, which is not stored. Raises `InvalidSchedule` with all its
        problems."""
        path = f"/v1/schedules:preview?count={count}"
        return self._post(path, schedule, Times).times


def _path(schedule_id: str, what: str = "") -> str:
    return f"/v1/schedules/{part(schedule_id)}{what}"
