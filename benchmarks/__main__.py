"""`python -m benchmarks [WORKLOAD ...]`: run all workloads, or those named (W1a W1c W5 ...)."""

from __future__ import annotations

import sys

from benchmarks import embedded, http, parsing, sleeping, start, stored, waiting, whatif
from benchmarks.figures import Figure, save, show

WORKLOADS = (
    ({"W1A", "W1B"}, embedded.throughput),
    ({"W1D"}, embedded.latency),
    ({"W2"}, embedded.long_flow),
    ({"W1C"}, http.requests),
    ({"W3"}, sleeping.sleeping),
    ({"W4"}, stored.stored),
    ({"W5"}, parsing.parsing),
    ({"W6"}, start.starting),
    ({"W7"}, waiting.waiting),
    ({"W9"}, whatif.what_if),
    ({"W-SIM"}, whatif.simulating),
)


def main() -> int:
    wanted = {name.upper() for name in sys.argv[1:]}
    figures: list[Figure] = []
    for names, workload in WORKLOADS:
        if not wanted or names & wanted:
            print(f"running {', '.join(sorted(names))} ...", file=sys.stderr)
            figures += workload()
    show(figures)
    if not wanted:
        save(figures)
    short = [each for each in figures if not each.is_reached]
    print(f"{len(figures) - len(short)} of {len(figures)} targets reached")
    return 0


if __name__ == "__main__":
    sys.exit(main())
