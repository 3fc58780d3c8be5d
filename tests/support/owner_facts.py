"""Facts that tests make up, and the labels that their claims get."""

from collections.abc import Sequence

from hypothesis import strategies as st

from exporter.model import Owner
from exporter.ownership.claims import (
    Claim,
    Facts,
    PodName,
    PrivateMountFacts,
    claim_owner,
)
from exporter.ownership.labels import resolve_labels
from exporter.runtimes.cgroup import CgroupPath
from tests.support.builders import (
    CONTAINER,
    OTHER_CONTAINER,
    OTHER_UID,
    UID,
    a_cgroup_path,
    a_netns,
    a_process,
)

PODS = {UID: PodName("shop", "web-0"), OTHER_UID: PodName("shop", "db-0")}
POD = a_cgroup_path(pod_uid=UID)
OTHER_POD = a_cgroup_path(OTHER_CONTAINER, pod_uid=OTHER_UID)
DOCKER = a_cgroup_path(runtime="docker")
OTHER_DOCKER = a_cgroup_path(OTHER_CONTAINER, runtime="docker")
NGINX = CgroupPath(unit="nginx.service")
UUID = "5d1f4a3e-7c1b-4f6e-9a55-0c8c1a2b3d4e"

NAMES = st.sampled_from(["", "blue", "host", "1", "cookie/1", "unit/a.service", "\n"])
HOSTILE = NAMES | st.text(max_size=3)
GROUPS = st.one_of(
    st.just(CgroupPath()),
    st.builds(CgroupPath, unit=HOSTILE),
    st.builds(
        CgroupPath,
        runtime=NAMES,
        container_id=st.sampled_from(["", "web", CONTAINER, OTHER_CONTAINER]) | HOSTILE,
        pod_uid=st.sampled_from(["", UID, OTHER_UID]) | HOSTILE,
        is_shim=st.booleans(),
        nested_in=st.sampled_from(["", "user@1000.service", CONTAINER]),
    ),
)
PROCESSES = st.builds(
    a_process, GROUPS, pid=st.integers(1, 9), start_time=st.integers(0, 3), comm=NAMES
)
PATHS = st.builds(
    "{}/{}".format, st.sampled_from(["", "/run/netns", "/run/docker/netns"]), HOSTILE
)
PRIVATE_MOUNTS = st.builds(
    PrivateMountFacts,
    path=PATHS,
    process=PROCESSES,
    uid=st.integers(1000, 1001),
    is_of_root=st.booleans(),
)
FACTS = st.builds(
    Facts,
    processes=st.lists(PROCESSES, max_size=3).map(tuple),
    mounts=st.lists(PATHS, max_size=2).map(tuple),
    private_mounts=st.lists(PRIVATE_MOUNTS, max_size=2).map(tuple),
)
CLAIMS = FACTS.map(lambda facts: claim_owner(facts, PODS))


def netns_labels(claims: Sequence[Claim], assigned: Sequence[Owner] = ()) -> list[str]:
    """Return the netns labels of *claims*, which have the cookies 1, 2 and so on."""
    ids = [a_netns(cookie, ino=cookie) for cookie in range(1, 1 + len(claims))]
    owners = resolve_labels(dict(zip(ids, claims, strict=True)), assigned)
    assert owners.keys() == set(ids)
    return [owners[netns].netns for netns in ids]
