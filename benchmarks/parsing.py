"""W5: reading, parsing and checking large flows."""

from __future__ import annotations

import gc
import statistics
import time

import orjson

from benchmarks.figures import Figure
from benchmarks.flows import chain
from flow_manager.core.parser import FlowParser
from flow_manager.core.values import read_json


def parsing() -> list[Figure]:
    gc.collect()
    gc.freeze()  # what other workloads have left in memory is not to be looked through meanwhile
    thousand, ten_thousand = _seconds(1_000), _seconds(10_000)
    return [
        Figure(
            "W5",
            "read, parse and check 1,000 tasks",
            f"{thousand * 1000:.1f} ms",
            "-",
            thousand * 1000,
            "at most",
            50,
        ),
        Figure(
            "W5",
            "the same for 10,000, against ten times that",
            f"{ten_thousand * 1000:.0f} ms",
            f"{thousand * 10_000:.0f} ms",
            ten_thousand / (10 * thousand),
            "at most",
            1.5,
        ),
    ]


def _seconds(tasks: int) -> float:
    content = orjson.dumps(chain(tasks, "bench.nothing"))
    parser = FlowParser({"bench.nothing": None})
    taken = []
    for _ in range(7):
        began = time.perf_counter()
        report = parser.check(read_json(content))
        taken.append(time.perf_counter() - began)
        if report.flow is None:
            raise AssertionError(report.errors[:3])
    return statistics.median(taken)
