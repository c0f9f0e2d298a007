"""W9: recorded executions through an edited flow; and W-sim: three days of waits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from benchmarks.embedded import embedded, flows_per_second, parse
from benchmarks.figures import Figure
from benchmarks.flows import chain
from flow_manager.core.definition import Flow
from flow_manager.core.events import decode_event, encode_event
from flow_manager.core.simulation.mocks import Simulation
from flow_manager.core.simulation.simulate import simulate
from flow_manager.core.simulation.whatif import WhatIf, summary_of
from flow_manager.stores.sqlite.reader import SqliteReader

EXECUTIONS = 5_000
SIMULATIONS = 200


def what_if() -> list[Figure]:
    """The edited flow reads a result in one of its conditions, and takes the recorded route."""
    edited = parse(edited_chain())
    with embedded() as (backend, folder), closing(SqliteReader(folder / "bench.db")) as reader:
        flows_per_second(backend, parse(chain(3, "bench.nothing")), EXECUTIONS)
        ids = [each.execution_id for each in reader.executions(limit=EXECUTIONS)]
        texts = [[encode_event(event) for event in reader.history(each)] for each in ids]
        replayed = statistics.median(_replayed(edited, texts) for _ in range(5))
        read = statistics.median(_read(edited, reader, ids) for _ in range(3))
    return [
        Figure(
            "W9",
            "what-if: a history of 3 tasks decoded and replayed",
            f"{replayed:,.0f} executions/s",
            "-",
            replayed,
            "at least",
            5_000,
        ),
        Figure(
            "W9",
            "the same, each read from the store",
            f"{read:,.0f} executions/s",
            f"{replayed:,.0f} executions/s",
            read,
            "at least",
            5_000,
        ),
    ]


def simulating() -> list[Figure]:
    """Three days of waits."""
    flow, taken = parse(waits(3)), []
    for _ in range(SIMULATIONS):
        began = time.perf_counter()
        simulated = simulate(flow, Simulation())
        taken.append(time.perf_counter() - began)
        if simulated.view.status.value != "completed":
            raise AssertionError(simulated.to_json())
    slowest = max(taken) * 1000
    what = f"simulate three days of waits, the slowest of {SIMULATIONS}"
    return [Figure("W-sim", what, f"{slowest:.2f} ms", "-", slowest, "at most", 50)]


def edited_chain() -> dict[str, Any]:
    document = chain(3, "bench.nothing")
    document["flow"]["conditions"][0]["when"] = "size(result.data) == 0"
    return document


def waits(days: int) -> dict[str, Any]:
    document = chain(days, "wait", "bench-waits")
    for task in document["flow"]["tasks"]:
        task["input"] = {"for": "1d"}
    return document


def _replayed(flow: Flow, texts: Sequence[Sequence[str]]) -> float:
    """Histories as text, decoded and replayed: executions per second."""
    began = time.perf_counter()
    edited = WhatIf(flow)
    summary = summary_of(edited.compare([decode_event(text) for text in each]) for each in texts)
    return _per_second(summary, len(texts), time.perf_counter() - began)


def _read(flow: Flow, reader: SqliteReader, ids: Sequence[str]) -> float:
    """The same, with histories as the store reads them."""
    began = time.perf_counter()
    edited = WhatIf(flow)
    summary = summary_of(edited.compare(reader.history(each), each) for each in ids)
    return _per_second(summary, len(ids), time.perf_counter() - began)


def _per_second(summary: dict[str, Any], executions: int, seconds: float) -> float:
    if summary["same"] != executions:
        raise AssertionError(summary)
    return executions / seconds
