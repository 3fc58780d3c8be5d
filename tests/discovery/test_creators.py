"""Below its own cgroup, a container, a unit or a user can multiply nothing."""

import pytest

from exporter.discovery.creators import creator, parse_creator
from tests.support.fakeproc import FakeProc

CONTAINER = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "own",
    [
        "/user.slice/user-1000.slice",
        "/system.slice/nginx.service",
        "/system.slice/docker-" + CONTAINER + ".scope",
        "/docker/" + CONTAINER,
        "/kubepods/burstable/pod7f3c2a10-1111-2222-3333-444455556666/" + CONTAINER,
        "/lxc.payload.web",
    ],
)
@pytest.mark.parametrize("below", ["", "/x", "/a.service", "/docker/" + "f" * 64])
def test_what_is_below_a_cgroup_has_its_creator(own: str, below: str) -> None:
    assert parse_creator(f"0::{own}{below}\n") == own


def test_the_hierarchy_with_the_longest_path_counts() -> None:
    text = f"3:cpu:/\n2:pids:/docker/{CONTAINER}\n0::/\n"

    assert parse_creator(text) == f"/docker/{CONTAINER}"


def test_an_unknown_cgroup_is_its_own_creator() -> None:
    assert parse_creator("0::/payload/worker\n") == "/payload/worker"


def test_a_process_that_ended_has_none(fake_proc: FakeProc) -> None:
    fake_proc.process(7, cgroup=b"0::/user.slice/user-7.slice/x\n")

    assert creator(fake_proc.procfs, 7) == "/user.slice/user-7.slice"
    assert creator(fake_proc.procfs, 8) == ""
