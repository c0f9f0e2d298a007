"""Routes: the ways that executions of a flow can take, found without running it.

The rules are those of `core.conditions` and `core.decide`; here they are followed for all outcomes
at once. A flow can have more routes than can be listed, so a report stops at a limit and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.definition import END, Condition, Flow, Outcome, Task

MOST_ROUTES: Final = 100
MOST_STEPS: Final = 10_000
"""Steps of all listed routes together: about 1 MB of JSON."""
MOST_LOOKS: Final = 20_000
"""Steps of the search for routes, which may lead nowhere: about 10 ms."""
MOST_PASSES: Final = 2
"""How often a route may come to one task: a circle is walked once."""

Outcomes = frozenset[Outcome]
End = Literal["completed", "failed"]

_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
_ALL: Final[Outcomes] = frozenset(_OUTCOMES)
_SUCCESS: Final[Outcomes] = frozenset({"success"})
_evaluator: Final = ConditionEvaluator()


class Edge(msgspec.Struct, frozen=True, gc=False):
    """A way out of a task, and the outcomes that may take it. `condition` is None if there is none.

    Where no condition matched and `to` is the end, success and the rest are two edges: they end
    the execution differently.
    """

    task: str
    outcomes: Outcomes
    to: str
    condition: str | None
    matched: bool
    fails: bool = False
    """Whether the execution fails with the task."""


class Route(msgspec.Struct, frozen=True):
    """A way from the start to the end. `loops` tells whether it comes to a task a second time."""

    steps: tuple[Edge, ...]
    ends: End
    loops: bool


class RouteReport(msgspec.Struct, frozen=True):
    """What can be said of the routes of a flow.

    `routes` are all if not `are_truncated`. `unhandled_failures` are the tasks whose failure fails
    the execution; `never_matching` are conditions that no outcome comes to.
    """

    routes: tuple[Route, ...]
    are_truncated: bool
    unhandled_failures: tuple[str, ...]
    unreachable: tuple[str, ...]
    never_matching: tuple[str, ...]
