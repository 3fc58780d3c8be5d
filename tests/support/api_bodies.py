"""Hypothesis strategies: what a runtime API could return, valid or not."""

import json

from hypothesis import strategies as st

KEYS = st.sampled_from(
    [
        *("Id", "Names", "Labels", "State", "StartedAt", "HostConfig", "NetworkMode"),
        *("Runtime", "Sysctls", "NetworkSettings", "SandboxKey", "Networks", "none"),
        *("EndpointID", "io.kubernetes.pod.name", "com.docker.compose.project"),
    ]
)
TEXT = st.text() | st.sampled_from(
    ["a" * 64, "/web", "2026-11-22T15:38:22.28223907Z", "9999-12-31T23:59:59-23:59"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text(), inner)
)
BODIES = st.binary() | VALUES.map(lambda value: json.dumps(value).encode())
"""Bodies of responses: arbitrary bytes, or JSON that resembles Docker's."""
