"""W1c: `POST /flow/execute` over HTTP, beside an empty route on the same web server."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.flows import chain
from benchmarks.load import load
from benchmarks.servers import empty_route, service

CONNECTIONS = 64
SECONDS = 5.0


def requests() -> list[Figure]:
    body = json.dumps(chain(3, "bench.nothing")).encode()
    empty, flows, latencies = [], [], []
    with tempfile.TemporaryDirectory(prefix="flow-manager-bench-") as folder:
        for round_number in range(3):
            with empty_route() as server:
                empty.append(load(server.port, "/empty", body, CONNECTIONS, SECONDS)["per_second"])
            with service(Path(folder, f"{round_number}.db"), "--log-level", "warning") as server:
                answer = load(server.port, "/flow/execute", body, CONNECTIONS, SECONDS)
                flows.append(answer["per_second"])
                latencies.append(answer["p50_ms"])
    rate, limit = statistics.median(flows), statistics.median(empty)
    return [
        Figure(
            "W1c",
            f"POST /flow/execute, {CONNECTIONS} connections (p50 {statistics.median(latencies):.0f} ms)",
            f"{rate:,.0f} flows/s",
            f"{limit:,.0f} requests/s",
            rate / limit,
            "at least",
            0.40,
        )
    ]
