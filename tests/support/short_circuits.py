"""A module of tasks without tasks: in a service that has it, circuits are open for three seconds only."""

from flow_manager.tasks.builtin import circuit

vars(circuit)["OPEN_SECONDS"] = 3.0
