"""
Read pod names from the kubelet's log directories: no socket, no privilege.

The kubelet makes /var/log/pods/<namespace>_<pod>_<uid> before it requests the
pod's sandbox (BuildPodLogsDirectory), whatever the runtime. Namespaces and pod
names are DNS names and hold no underscore.
"""

import os

from exporter.values import decode_filename

_PARTS = 3


def read_pod_names(rootfs: str) -> dict[str, tuple[str, str]]:
    """Return pod uid -> (namespace, pod); empty where there is no kubelet."""
    try:
        found = os.listdir(f"{rootfs.rstrip('/')}/var/log/pods")
    except OSError:
        return {}
    return parse_pod_directories([decode_filename(name) for name in found])


def parse_pod_directories(names: list[str]) -> dict[str, tuple[str, str]]:
    """
    Return pod uid -> (namespace, pod) of directory names that have all three.

    >>> parse_pod_directories(["shop_web-0_1f7d8a3c-0000-4000-8000-000000000001"])
    {'1f7d8a3c-0000-4000-8000-000000000001': ('shop', 'web-0')}
    """
    parts = (name.split("_") for name in names)
    return {p[2]: (p[0], p[1]) for p in parts if len(p) == _PARTS and all(p)}
