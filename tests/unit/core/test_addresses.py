from __future__ import annotations

import pytest

from flow_manager.core.addresses import is_loopback


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_a_loopback_address_leads_to_this_machine_alone(host: str, own: bool) -> None:
    assert is_loopback(host) is own
