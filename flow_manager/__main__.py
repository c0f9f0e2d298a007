"""`python -m flow_manager` is `flow-manager`."""

from __future__ import annotations

from flow_manager.cli.main import main

if __name__ == "__main__":
    main()
