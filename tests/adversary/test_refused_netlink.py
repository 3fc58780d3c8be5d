"""A seccomp filter refuses sock_diag sockets: listeners are absent, and it says so."""

import errno
import os
import sys
from pathlib import Path

import pytest

from testing.lab import new_namespaces
from testing.running import run_exporter

pytestmark = pytest.mark.root

PODS = 3
SOCKET = {"x86_64": 41, "aarch64": 198}  # __NR_socket

REFUSE = """
import ctypes, os, struct, sys
nr, code = int(sys.argv[1]), int(sys.argv[2])
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
instructions = [
    (LOAD, 0, 0, 0), (EQUALS, 0, 5, nr),
    (LOAD, 0, 0, 16), (EQUALS, 0, 3, 16),  # the family is AF_NETLINK
    (LOAD, 0, 0, 32), (EQUALS, 0, 1, 4),  # the protocol is NETLINK_SOCK_DIAG
    (RETURN, 0, 0, ERRNO | code), (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize("name", ["EOPNOTSUPP", "EPROTONOSUPPORT", "EPERM"])
def test_listeners_are_absent_and_the_reason_is_a_problem(
    tmp_path: Path, name: str
) -> None:
    code = str(getattr(errno, name))
    numbers = (str(SOCKET[os.uname().machine]), code)
    refuse = (sys.executable, "-I", "-S", "-c", REFUSE, *numbers)
    with (
        new_namespaces(PODS, listeners=1) as pods,
        run_exporter(tmp_path, prefix=refuse) as exporter,
    ):
        exporter.scrape()
        metrics = exporter.scrape()

        problem = metrics.samples("netns_collector_problem", problem="no_sock_diag")
        assert list(problem.values()) == [1]
        assert not metrics.samples("netns_listener_queue_limit")
        assert metrics.value("netns_read_errors_total", reason="failed") in {None, 0}
        read = metrics.value("netns_namespaces", state="read") or 0
        pending = metrics.value("netns_namespaces", state="pending") or 0
        assert read + pending >= len(pods)
