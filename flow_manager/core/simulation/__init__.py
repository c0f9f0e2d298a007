"""Simulation: flows decided with mocks, recorded results and virtual time; nothing is done."""
