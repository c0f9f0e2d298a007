"""The service: `python app.py`. Import the modules of your own tasks beside the sample tasks."""

from __future__ import annotations

import sys

import sample_tasks  # noqa: F401  registers task1, task2 and task3
from flow_manager.cli.main import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
