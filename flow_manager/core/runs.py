"""What routes have in common: which tasks have surely, and which have possibly, had a run before a
point of a flow.

A task has surely had one if no route goes round it: it dominates the point. It has possibly had one
if a route leads from it to the point. Both are found in nearly linear time, whatever the flow: to
follow the ways until nothing changes takes a minute if ten thousand tasks each lead back to the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flow_manager.core.definition import END, Flow
from flow_manager.core.ways import ways_out


class Runs:
    """Which tasks have had a run at each point of a flow, as the bits of an integer.

    The points are the tasks and the end; for that, only executions that complete count.
    """

    def __init__(self, flow: Flow) -> None:
        self._bits = {name: 1 << number for number, name in enumerate(flow.tasks)}
        self._everything = (1 << len(self._bits)) - 1
        walk = _Walk(flow.start_task, {name: _targets(flow, name) for name in flow.tasks})
        self._surely = _before_by_dominators(walk, self._bits)
        self._possibly = _before_by_circles(walk, self._bits)
        for task in flow.tasks.values():
            if task.compensate_with is not None and task.name in self._surely:
                self._undo(task.name, task.compensate_with)

    def bit(self, name: str) -> int:
        return self._bits.get(name, 0)

    def at(self, point: str, is_after: bool) -> tuple[int, int]:
        """The tasks that surely, and that possibly, have had a run; at a point that no route reaches
        nothing is amiss, so all of them have."""
        own = self._bits[point] if is_after else 0
        surely = self._surely.get(point, self._everything)
        possibly = self._possibly.get(point, self._everything)
        return surely | own, possibly | own

    def _undo(self, undone: str, by: str) -> None:
        """What undoes a task runs at some later time."""
        before = self._surely.get(by, self._everything)
        self._surely[by] = before & (self._surely[undone] | self._bits[undone])
        self._possibly[by] = self._everything


def _targets(flow: Flow, name: str) -> list[str]:
    ways = ways_out(flow, flow.tasks[name])
    return list(dict.fromkeys(way.target for way in ways if way.target != END or way.can_complete))


class _Walk:
    """A walk in depth to all points that can be reached. They are numbered in the order in which the
    walk first came to them, and `ended` has them in the order in which it left them for good."""

    def __init__(self, start: str, targets: Mapping[str, Sequence[str]]) -> None:
        self.points = [start]
        self.came_from = [0]
        self.ended: list[int] = []
        self.sources: list[list[int]] = [[]]
        """From where ways lead to each point."""
        numbers = {start: 0}
        open_points: list[tuple[int, Iterator[str]]] = [(0, iter(targets[start]))]
        while open_points:
            number, left = open_points[-1]
            target = next(left, None)
            if target is None:
                self.ended.append(number)
                open_points.pop()
                continue
            known = numbers.setdefault(target, len(self.points))
            if known == len(self.points):
                self.points.append(target)
                self.came_from.append(number)
                self.sources.append([])
                open_points.append((known, iter(targets.get(target, ()))))
            self.sources[known].append(number)


def _before_by_dominators(walk: _Walk, bits: Mapping[str, int]) -> dict[str, int]:
    """The tasks on every route to a point, which are those that dominate it."""
    before = {walk.points[0]: 0}
    for number, above in enumerate(_dominators(walk)):
        if number:
            name = walk.points[above]
            before[walk.points[number]] = before[name] | bits[name]
    return before


def _dominators(walk: _Walk) -> list[int]:
    """The last point that all routes to a point have in common, for each point.

    After T. Lengauer and R. E. Tarjan, A fast algorithm for finding dominators in a flowgraph, 1979.
    """
    detours = _Detours(len(walk.points))
    starting: list[list[int]] = [[] for _ in walk.points]
    found = list(walk.came_from)
    for number in range(len(walk.points) - 1, 0, -1):
        above = walk.came_from[number]
        detours.find(number, walk.sources[number])
        starting[detours.start[number]].append(number)
        detours.join(number, above)
        for each in starting[above]:
            passed = detours.highest(each)
            found[each] = passed if detours.start[passed] < detours.start[each] else above
        starting[above].clear()
    for number in range(1, len(walk.points)):
        if found[number] != detours.start[number]:
            found[number] = found[found[number]]
    return found


class _Detours:
    """The first point of the walk from which ways lead to a point by points that were found later
    (its semidominator), for each point. They are found from the last point to the first."""

    def __init__(self, number_of_points: int) -> None:
        self.start = list(range(number_of_points))
        self._highest = list(range(number_of_points))
        self._above = [-1] * number_of_points

    def find(self, number: int, sources: Sequence[int]) -> None:
        self.start[number] = min(self.start[self.highest(source)] for source in sources)

    def join(self, number: int, above: int) -> None:
        """The point has been looked at; `above` is the one that the walk came from."""
        self._above[number] = above

    def highest(self, number: int) -> int:
        """The point whose detour starts first, of this one and those joined above it."""
        above, highest = self._above, self._highest
        if above[number] < 0:
            return number
        path = [number]
        while above[above[path[-1]]] >= 0:
            path.append(above[path[-1]])
        top = above[path.pop()]
        for each in reversed(path):
            if self.start[highest[above[each]]] < self.start[highest[each]]:
                highest[each] = highest[above[each]]
            above[each] = top
        return highest[number]


def _before_by_circles(walk: _Walk, bits: Mapping[str, int]) -> dict[str, int]:
    """The tasks from which a route leads to a point: whoever is in a circle comes before all in it."""
    before: dict[str, int] = {}
    after = [0] * len(walk.points)
    is_known = [False] * len(walk.points)
    for circle in _circles(walk):
        members = sum(bits.get(walk.points[number], 0) for number in circle)
        above = 0
        is_round = len(circle) > 1
        for number in circle:
            for source in walk.sources[number]:
                above |= after[source] if is_known[source] else 0
                is_round = is_round or source == number
        for number in circle:
            is_known[number], after[number] = True, above | members
            before[walk.points[number]] = above | members if is_round else above
    return before


def _circles(walk: _Walk) -> Iterator[list[int]]:
    """The points in groups of those that lead to each other, each after the groups that lead to it.

    The second half of Kosaraju's algorithm: what leads to the point that the walk left last, and
    is in no group yet, is in a group with it.
    """
    is_taken = [False] * len(walk.points)
    for first in reversed(walk.ended):
        if is_taken[first]:
            continue
        is_taken[first] = True
        circle = [first]
        for number in circle:
            for source in walk.sources[number]:
                if not is_taken[source]:
                    is_taken[source] = True
                    circle.append(source)
        yield circle
