from __future__ import annotations

from hypothesis import settings

# A busy machine must not fail a property by being slow; pytest-timeout still bounds the whole test.
settings.register_profile("flow-manager", deadline=None)
settings.load_profile("flow-manager")
