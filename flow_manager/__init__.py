"""Runs flows: JSON documents of tasks and conditions, one durable step after another."""

__version__ = "0.1.0"
