"""What if: an edited flow against what an execution has recorded.

The recorded results take the place of the tasks, each in the order of the task's runs, with attempts,
losses and times as they were. As long as both histories agree, every decision is made at the time at
which it was made then; so a flow that was not edited always takes the recorded route.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.simulation.recording import Recording
from flow_manager.core.simulation.replay import Difference, Need, Replay
from flow_manager.core.simulation.simulate import HIDDEN, secrets_of

REFUSED: Final = "refused: the input does not fit"
MOST_LISTED: Final = 100
"""Kinds of differences that a summary lists."""

Outcome = Literal["same", "differs", "needs"]


class Comparison(msgspec.Struct, frozen=True):
    """What becomes of a recorded execution in the edited flow.

    `same`: it takes the recorded route to the same end, or as far as it has come. `differs`: it takes
    another. `needs`: it cannot be told, since it comes to a task whose result was never recorded.
    """

    outcome: Outcome
    difference: Difference | None = None
    need: Need | None = None

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in body.items() if value is not None}


class WhatIf:
    """An edited flow, to be held against any number of recorded executions."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._secrets = dict.fromkeys(secrets_of(flow), HIDDEN)

    def compare(self, recorded: Sequence[Event], execution_id: str = "") -> Comparison:
        """Raises `ValueError` for what is no history."""
        recording = Recording(recorded)
        input: Mapping[str, Any] = recording.began.input
        if self._flow.input_schema is not None and recording.began.parent is None:
            input = self._flow.input_schema.with_defaults(dict(input))
            if self._flow.input_schema.misfits(input, 1):
                return Comparison("differs", Difference("", 0, recording.choice(0), REFUSED))
        replay = Replay(self._flow, recording, input, self._secrets, execution_id)
        replay.run()
        difference = replay.difference()
        if replay.need is not None:
            return Comparison("needs", difference, replay.need)
        return Comparison("same" if difference is None else "differs", difference)


def what_if(flow: Flow, recorded: Sequence[Event]) -> Comparison:
    """Hold an edited flow against one recorded execution. Raises `ValueError` for what is no history."""
    return WhatIf(flow).compare(recorded)


def summary_of(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """How many take the same route, which ways part where and how often, and what is missing how often."""
    outcomes: Counter[str] = Counter()
    differences: Counter[tuple[str, str, str]] = Counter()
    needs: Counter[str] = Counter()
    for each in comparisons:
        outcomes[each.outcome] += 1
        if each.difference is not None:
            differences[each.difference.task, each.difference.recorded, each.difference.new] += 1
        if each.need is not None:
            needs[each.need.task] += 1
    parted = differences.most_common(MOST_LISTED)
    return {
        "same": outcomes["same"],
        "differs": outcomes["differs"],
        "needs": outcomes["needs"],
        "differences": [
            {"task": task, "recorded": recorded, "new": new, "executions": number}
            for (task, recorded, new), number in parted
        ],
        "needed": [{"task": task, "executions": number} for task, number in needs.most_common(MOST_LISTED)],
    }
