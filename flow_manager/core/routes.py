"""Routes: every way through a flow from its start to its end, without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flow_manager.core.definition import END, Flow
from flow_manager.core.steps import LAST_STEPS
from flow_manager.core.ways import OUTCOMES, Way, ways_out

MOST_ROUTES: Final = 100
MOST_STEPS: Final = 20_000
"""Ways that are followed while routes are looked for: about 20 ms."""
MOST_VISITS: Final = 2
"""Visits of a route to one task: what more rounds of a loop would do is not told."""
_FAILURES: Final = frozenset(OUTCOMES) - {"success"}


@dataclass(frozen=True, slots=True)
class Route:
    """One way through a flow, as the ways that it follows."""

    ways: tuple[Way, ...]

    @property
    def status(self) -> str:
        return "completed" if self.ways[-1].can_complete else "failed"

    @property
    def has_loop(self) -> bool:
        tasks = [way.source for way in self.ways]
        return len(set(tasks)) < len(tasks)

    def to_json(self) -> dict[str, Any]:
        steps = [
            {
                "task": way.source,
                "outcomes": sorted(way.outcomes),
                "condition": None if way.condition is None else way.condition.name,
                "matched": way.is_match,
            }
            for way in self.ways
        ]
        return {"steps": steps, "status": self.status, "has_loop": self.has_loop}

    def __str__(self) -> str:
        """One line: `a -(success)-> b -(failure)-> end: failed`."""
        return "".join(f"{way.source} -({_called(way)})-> " for way in self.ways) + f"end: {self.status}"


@dataclass(frozen=True, slots=True)
class RouteReport:
    """The routes of a flow, and the tasks whose failure ends it without any condition expecting that.
    `is_truncated`: there are more routes than are listed."""

    routes: tuple[Route, ...]
    is_truncated: bool
    unhandled_failures: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "routes": [route.to_json() for route in self.routes],
            "routes_truncated": self.is_truncated,
            "unhandled_failures": list(self.unhandled_failures),
        }


def routes_of(flow: Flow, most: int = MOST_ROUTES) -> RouteReport:
    """The routes in the order in which conditions are written, the shortest loops included."""
    ways = {name: _split(flow, name) for name in flow.tasks}
    walk = _Walk(ways, flow.start_task)
    found: list[Route] = []
    for _ in range(MOST_STEPS):
        if walk.is_over or len(found) > most:
            break
        route = walk.step()
        if route is not None:
            found.append(route)
    is_truncated = not walk.is_over or len(found) > most
    return RouteReport(tuple(found[:most]), is_truncated, tuple(_unhandled(flow, ways)))


class _Walk:
    """A walk along all routes, one way at a time: forth, or back where there is nothing left to try."""

    def __init__(self, ways: Mapping[str, list[Way]], start: str) -> None:
        self._ways = ways
        self._path: list[Way] = []
        self._visits = Counter([start])
        self._open = [iter(ways[start])]

    @property
    def is_over(self) -> bool:
        return not self._open

    def step(self) -> Route | None:
        """The route, if this step has reached the end of one."""
        way = next(self._open[-1], None)
        if way is None:
            self._open.pop()
            if self._path:
                self._visits[self._path.pop().target] -= 1
            return None
        if way.target == END:
            return Route((*self._path, way))
        if self._visits[way.target] < MOST_VISITS:
            self._path.append(way)
            self._visits[way.target] += 1
            self._open.append(iter(self._ways[way.target]))
        return None


def _unhandled(flow: Flow, ways: Mapping[str, list[Way]]) -> Iterator[str]:
    """Tasks on a route whose failure no condition expects; to fail is what a `fail` task is for."""
    reached, waiting = {flow.start_task}, [flow.start_task]
    while waiting:
        for way in ways[waiting.pop()]:
            if way.target != END and way.target not in reached:
                reached.add(way.target)
                waiting.append(way.target)
    for name, task in flow.tasks.items():
        ends = (way for way in ways[name] if way.target == END and not way.is_match)
        if name in reached and task.type not in LAST_STEPS and any(way.outcomes & _FAILURES for way in ends):
            yield name


def _split(flow: Flow, name: str) -> list[Way]:
    """The ways out of a task; one to the end that both a success and a failure can take is two."""
    split: list[Way] = []
    for way in ways_out(flow, flow.tasks[name]):
        failures = way.outcomes & _FAILURES
        if way.target == END and not way.is_match and failures and "success" in way.outcomes:
            split += [way._replace(outcomes=way.outcomes - _FAILURES), way._replace(outcomes=failures)]
        else:
            split.append(way)
    return split


def _called(way: Way) -> str:
    if way.outcomes == _FAILURES:
        outcomes = "failure"
    elif way.outcomes == frozenset(OUTCOMES):
        outcomes = "any outcome"
    else:
        outcomes = " or ".join(sorted(way.outcomes))
    if way.condition is None or way.condition.when is None or not way.is_match:
        return outcomes
    return f"{outcomes}, if {way.condition.when.source}"
