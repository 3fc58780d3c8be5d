"""Whose a namespace is, who could lie about it, and that no two are called alike."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import NetnsId, Owner, OwnerKind
from exporter.owner import cookie_name, owner_labels
from exporter.ownership.claims import (
    Claim,
    Facts,
    PodName,
    ProcessFacts,
    claim_owner,
    is_better,
    is_final,
    resolve_labels,
)
from exporter.runtimes.cgroup import CgroupPath
from tests.support.builders import (
    CONTAINER,
    OTHER_CONTAINER,
    OTHER_UID,
    UID,
    a_cgroup_path,
    a_claim,
    a_netns,
    a_process,
    an_owner,
    some_facts,
    the_host,
)

PODS = {UID: PodName("shop", "web-0"), OTHER_UID: PodName("shop", "db-0")}
POD = a_cgroup_path(pod_uid=UID)
OTHER_POD = a_cgroup_path(OTHER_CONTAINER, pod_uid=OTHER_UID)
DOCKER = a_cgroup_path(runtime="docker")
OTHER_DOCKER = a_cgroup_path(OTHER_CONTAINER, runtime="docker")
NGINX = CgroupPath(unit="nginx.service")
UUID = "5d1f4a3e-7c1b-4f6e-9a55-0c8c1a2b3d4e"


class TestTheHost:
    """Its namespace is known by being it."""

    def test_is_the_host_whoever_is_in_it(self) -> None:
        facts = some_facts(a_process(POD), host=True, mounts=["/run/netns/blue"])

        assert claim_owner(facts, PODS) == Claim(owner=the_host(), is_complete=True)


class TestContainers:
    """The cgroup of the oldest process that has one."""

    def test_a_container_is_known_by_twelve_digits_and_has_its_whole_id(self) -> None:
        said = claim_owner(
            some_facts(a_process(DOCKER, comm="nginx", start_time=5)), {}
        )

        assert said == Claim(
            owner=Owner(
                kind="container",
                container="a1a1a1a1a1a1",
                runtime="docker",
                container_id=CONTAINER,
                evidence="cgroup",
                comm="nginx",
            ),
            is_complete=True,
            start_time=5,
        )

    def test_two_containers_whose_names_begin_alike_are_two(self) -> None:
        """LXC and Garden have names, not digests."""
        names = ["production-web", "production-worker"]
        groups = [a_cgroup_path(name, runtime="lxc") for name in names]

        said = [claim_owner(some_facts(a_process(group)), {}).owner for group in groups]

        assert owner_labels(said[0]) != owner_labels(said[1])

    def test_the_oldest_process_speaks_whatever_the_order(self) -> None:
        old = a_process(DOCKER, pid=900, start_time=1, comm="old")
        young = a_process(DOCKER, pid=100, start_time=2, comm="young")

        for order in itertools.permutations([old, young]):
            said = claim_owner(some_facts(*order), {})
            assert (said.owner.comm, said.start_time) == ("old", 1)

    def test_of_two_that_started_in_one_tick_the_lower_pid_speaks(self) -> None:
        first = a_process(DOCKER, pid=10, comm="first")
        second = a_process(OTHER_DOCKER, pid=11, comm="second")

        assert claim_owner(some_facts(second, first), {}).owner.comm == "first"

    @pytest.mark.parametrize("intruder", [OTHER_DOCKER, OTHER_POD, NGINX, CgroupPath()])
    def test_a_younger_process_from_elsewhere_takes_nothing(
        self, intruder: CgroupPath
    ) -> None:
        own = a_process(DOCKER, pid=900, start_time=1)
        late = a_process(intruder, pid=100, start_time=2)

        assert claim_owner(some_facts(late, own), PODS) == claim_owner(
            some_facts(own), PODS
        )

    @pytest.mark.parametrize("bystander", [NGINX, CgroupPath()])
    def test_an_older_process_of_no_container_keeps_it_from_a_container(
        self, bystander: CgroupPath
    ) -> None:
        older = a_process(bystander, start_time=1)

        said = claim_owner(some_facts(older, a_process(DOCKER, start_time=2)), {})

        assert said.owner.container_id == ""

    def test_a_container_outweighs_a_mount(self) -> None:
        said = claim_owner(
            some_facts(a_process(DOCKER), mounts=["/run/netns/blue"]), {}
        )

        assert (said.owner.kind, said.owner.netns) == ("container", "")
        assert said.alias == "named/blue"

    def test_a_mount_that_only_it_sees_is_an_alias_too(self) -> None:
        process = a_process(DOCKER)

        said = claim_owner(
            some_facts(process, private_mounts=[("/x/red", process)]), {}
        )

        assert (said.owner.netns, said.alias) == ("", "named/red")

    def test_a_mount_that_the_host_sees_is_the_first_alias(self) -> None:
        process = a_process(DOCKER)
        facts = some_facts(
            process, mounts=["/run/netns/blue"], private_mounts=[("/x/red", process)]
        )

        assert claim_owner(facts, {}).alias == "named/blue"


class TestMonitors:
    """conmon and lxc-start are beside the container they look after."""

    MONITOR = a_process(
        a_cgroup_path(OTHER_CONTAINER, runtime="podman", is_shim=True), start_time=1
    )

    def test_an_older_monitor_is_passed_over(self) -> None:
        said = claim_owner(
            some_facts(self.MONITOR, a_process(DOCKER, start_time=2)), {}
        )

        assert said.owner.container_id == CONTAINER

    def test_a_monitor_is_passed_over_for_a_unit(self) -> None:
        said = claim_owner(some_facts(self.MONITOR, a_process(NGINX, start_time=2)), {})

        assert said.owner.kind == "unit"

    def test_where_only_monitors_are_they_say_what_they_know(self) -> None:
        said = claim_owner(some_facts(self.MONITOR), {})

        assert said.owner.container_id == OTHER_CONTAINER
        assert said.owner.runtime == "podman"


class TestPods:
    """The uid in the cgroup, the name in the kubelet's log directories."""

    def test_a_pod_has_its_name_from_the_log_directory(self) -> None:
        said = claim_owner(some_facts(a_process(POD, comm="pause", start_time=5)), PODS)

        assert said == Claim(
            owner=Owner(
                kind="pod",
                namespace="shop",
                pod="web-0",
                uid=UID,
                runtime="containerd",
                container_id=CONTAINER,
                evidence="cgroup+log_directory",
                comm="pause",
            ),
            is_complete=True,
            start_time=5,
        )

    def test_the_containers_of_a_pod_are_one_owner(self) -> None:
        pause, app = (
            a_cgroup_path(pod_uid=UID),
            a_cgroup_path(OTHER_CONTAINER, pod_uid=UID),
        )

        both = [claim_owner(some_facts(a_process(g)), PODS).owner for g in (pause, app)]

        assert owner_labels(both[0]) == owner_labels(both[1])

    @pytest.mark.parametrize("pods", [{}, {OTHER_UID: PodName("shop", "db-0")}])
    def test_a_pod_without_a_name_has_its_uid_and_may_yet_get_one(
        self, pods: Mapping[str, PodName]
    ) -> None:
        said = claim_owner(some_facts(a_process(POD)), pods)

        assert owner_labels(said.owner) == ("", "", UID, "", "")
        assert (said.owner.kind, said.owner.evidence) == ("pod", "cgroup")
        assert not said.is_complete

    @pytest.mark.parametrize(
        ("within", "netns"),
        [
            (CONTAINER, "within/a1a1a1a1a1a1"),
            ("user@1000.service", "within/user@1000.service"),
        ],
    )
    def test_a_pod_that_another_vouches_for_is_no_pod_of_this_host(
        self, within: str, netns: str
    ) -> None:
        """Whoever runs there chose that uid, and could choose another pod's."""
        inner = a_cgroup_path(OTHER_CONTAINER, pod_uid=UID, nested_in=within)

        said = claim_owner(some_facts(a_process(inner)), PODS)

        assert owner_labels(said.owner) == ("", "", "", "b2b2b2b2b2b2", netns)
        assert said.owner.kind == "container"

    def test_who_pretends_to_be_a_container_cannot_have_its_names(self) -> None:
        real = claim_owner(some_facts(a_process(DOCKER, start_time=9)), {})
        fake_group = a_cgroup_path(CONTAINER, nested_in="user@1000.service")
        fakes = [
            claim_owner(some_facts(a_process(fake_group, start_time=1)), {}),
            claim_owner(some_facts(private_mounts=[("/x", a_process(fake_group))]), {}),
            claim_owner(some_facts(a_process(fake_group, visitor=True)), {}),
        ]

        assert sorted(settled([real, *fakes])) == [
            "",
            "within/user@1000.service",
            "within/user@1000.service/cookie/4",
            "within/user@1000.service/named/x",
        ]

    def test_a_container_of_no_pod_is_no_nameless_pod(self) -> None:
        said = claim_owner(some_facts(a_process(DOCKER)), PODS)

        assert owner_labels(said.owner) == ("", "", "", "a1a1a1a1a1a1", "")


class TestPassingThrough:
    """A CNI plug-in, nsenter, a debug container: in a namespace not their own."""

    def test_a_visitor_does_not_take_a_runtimes_sandbox(self) -> None:
        facts = some_facts(
            a_process(POD, visitor=True), mounts=["/run/docker/netns/3fa9c1d2e4b5"]
        )

        assert claim_owner(facts, PODS).owner.kind == "named"

    def test_a_visitor_older_than_the_owner_does_not_take_its_namespace(self) -> None:
        facts = some_facts(
            a_process(POD, visitor=True, start_time=1), a_process(DOCKER, start_time=9)
        )

        assert claim_owner(facts, PODS).owner.container == "a1a1a1a1a1a1"

    def test_a_thread_does_not_take_a_mounted_namespace(self) -> None:
        facts = some_facts(threads=[a_process(POD)], mounts=["/run/netns/blue"])

        assert claim_owner(facts, PODS).owner.netns == "named/blue"

    @pytest.mark.parametrize("where", ["processes", "threads"])
    def test_a_namespace_a_container_made_is_its_own_but_not_its_main_one(
        self, where: str
    ) -> None:
        someone = (a_process(POD, visitor=where == "processes"),)
        nested = claim_owner(msgspec.structs.replace(Facts(), **{where: someone}), PODS)
        main = claim_owner(some_facts(a_process(POD, start_time=5000)), PODS)

        assert not nested.is_complete
        assert settled([nested, main]) == ["cookie/1", ""]
        assert owner_labels(nested.owner) == owner_labels(main.owner)

    @pytest.mark.parametrize("visitor", [True, False])
    def test_who_comes_later_does_not_take_a_units_namespace(
        self, *, visitor: bool
    ) -> None:
        """Not by nsenter, and not as an exec'd process whose parent is the shim."""
        facts = some_facts(
            a_process(NGINX, start_time=1),
            a_process(POD, visitor=visitor, start_time=2),
        )

        assert claim_owner(facts, PODS).owner.kind == "unit"

    def test_who_enters_a_name_that_an_operator_gave_is_there_by_it(self) -> None:
        given = claim_owner(some_facts(mounts=["/run/netns/blue"]), {}).owner
        sandbox = claim_owner(
            some_facts(mounts=["/run/docker/netns/3fa9c1d2e4b5"]), {}
        ).owner

        assert is_final(given)
        assert not is_final(sandbox)


class TestMounts:
    """Names that an operator or a runtime gave; a container's tell only its own."""

    def test_a_namespace_of_ip_netns_is_named_by_it(self) -> None:
        said = claim_owner(some_facts(mounts=["/run/netns/blue"]), {})

        assert said.owner == Owner(kind="named", netns="named/blue", evidence="mount")
        assert said.is_complete

    @pytest.mark.parametrize("process", [a_process(NGINX), a_process()])
    def test_a_mount_outweighs_a_unit_and_a_name_of_a_process(
        self, process: ProcessFacts
    ) -> None:
        facts = some_facts(process, mounts=["/run/netns/blue"])

        assert claim_owner(facts, {}).owner.netns == "named/blue"

    @pytest.mark.parametrize(
        "path",
        [
            "/run/docker/netns/3fa09c1b2d4e",
            "/var/run/docker/netns/ingress_sbox",
            f"/var/run/netns/cni-{UUID}",
            f"/run/netns/{UUID}",
            f"/run/netns/netns-{UUID}",
            f"/host/run/netns/cni-{UUID}",
        ],
    )
    def test_a_runtimes_own_mount_is_a_name_until_its_container_starts(
        self, path: str
    ) -> None:
        said = claim_owner(some_facts(mounts=[path]), {})

        assert said.owner.netns == f"named/{path.rpartition('/')[2]}"
        assert said.owner.kind == "named"
        assert not said.is_complete

    @pytest.mark.parametrize(
        "path",
        [
            "/run/netns/cni",
            "/run/netns/cni-blue",
            f"/run/netns/cni-{UUID}-mine",
            f"/run/netns/x-{UUID}",
            f"/srv/{UUID}",
            "/run/netns/netns/blue",
            "/srv/docker/blue",
        ],
    )
    def test_what_only_looks_like_a_runtimes_mount_is_a_name(self, path: str) -> None:
        assert claim_owner(some_facts(mounts=[path]), {}).is_complete

    def test_a_given_name_is_better_than_a_runtimes(self) -> None:
        paths = [f"/run/netns/cni-{UUID}", "/run/netns/blue"]

        said = claim_owner(some_facts(mounts=paths), {})

        assert said.owner.netns == "named/blue"
        assert said.is_complete

    def test_a_mount_that_only_a_container_sees_is_the_containers(self) -> None:
        said = claim_owner(
            some_facts(private_mounts=[("/run/netns/blue", a_process(DOCKER))]), {}
        )

        assert owner_labels(said.owner) == ("", "", "", "a1a1a1a1a1a1", "")
        assert settled([said]) == ["named/blue"]

    def test_a_mount_that_only_a_pod_sees_is_the_pods(self) -> None:
        said = claim_owner(
            some_facts(private_mounts=[("/run/netns/blue", a_process(POD))]), PODS
        )

        assert owner_labels(said.owner) == ("shop", "web-0", UID, "", "")
        assert settled([said]) == ["named/blue"]

    def test_a_container_that_sees_the_mount_outweighs_a_unit_that_does(self) -> None:
        mounts = [("/run/netns/a", a_process(NGINX)), ("/run/b", a_process(DOCKER))]

        for order in itertools.permutations(mounts):
            said = claim_owner(some_facts(private_mounts=order), {})
            assert owner_labels(said.owner) == ("", "", "", "a1a1a1a1a1a1", "")
            assert settled([said]) == ["named/b"]

    def test_a_process_inside_outweighs_who_sees_the_mount(self) -> None:
        facts = some_facts(
            a_process(DOCKER), private_mounts=[("/x/blue", a_process(OTHER_DOCKER))]
        )

        assert claim_owner(facts, {}).owner.container_id == CONTAINER

    def test_what_the_host_sees_outweighs_what_a_container_sees(self) -> None:
        facts = some_facts(
            mounts=["/run/netns/blue"],
            private_mounts=[("/run/netns/evil", a_process(DOCKER))],
        )

        assert claim_owner(facts, {}).owner.netns == "named/blue"

    def test_a_mount_in_a_namespace_of_a_unit_is_named_as_on_the_host(self) -> None:
        said = claim_owner(
            some_facts(private_mounts=[("/run/netns/blue", a_process(NGINX))]), {}
        )

        assert (said.owner.kind, said.owner.netns) == ("named", "named/blue")


class TestUnitsAndProcesses:
    """What is left when no container and no mount says more."""

    def test_a_unit_is_named_and_may_yet_turn_out_a_container(self) -> None:
        said = claim_owner(some_facts(a_process(NGINX, comm="nginx", start_time=5)), {})

        assert said == Claim(
            owner=Owner(
                kind="unit", netns="unit/nginx.service", evidence="unit", comm="nginx"
            ),
            is_complete=False,
            start_time=5,
        )

    def test_the_oldest_process_with_a_unit_names_it(self) -> None:
        shell = a_process(start_time=1)
        unit = a_process(NGINX, start_time=2)
        late = a_process(CgroupPath(unit="late.service"), start_time=3)

        said = claim_owner(some_facts(late, unit, shell), {})

        assert said.owner.netns == "unit/nginx.service"

    def test_a_process_of_nothing_is_told_by_its_name_only(self) -> None:
        said = claim_owner(some_facts(a_process(comm="unshare", start_time=5)), {})

        assert said.owner == Owner(kind="process", evidence="comm", comm="unshare")
        assert (said.is_complete, said.start_time) == (False, 5)

    def test_a_namespace_without_any_witness_is_somebodys(self) -> None:
        said = claim_owner(some_facts(), {})

        assert said.owner == Owner(kind="process")
        assert not said.is_complete


def settled(
    claims: Sequence[Claim], taken: Sequence[Owner] = (), *, first: int = 1
) -> list[str]:
    """Settle *claims*, with cookies from *first* up; return their netns labels."""
    ids = [a_netns(cookie, ino=cookie) for cookie in range(first, first + len(claims))]
    owners = resolve_labels(dict(zip(ids, claims, strict=True)), taken)
    assert owners.keys() == set(ids)
    return [owners[netns].netns for netns in ids]


class TestSettle:
    """Labels that are unique on a node, and stay."""

    def test_an_only_namespace_is_its_owners_main(self) -> None:
        assert settled([a_claim(alias="named/blue")]) == [""]

    def test_the_oldest_of_an_owner_is_the_main_one(self) -> None:
        claims = [a_claim(since=since) for since in (30, 10, 20)]

        assert settled(claims) == ["cookie/1", "", "cookie/3"]

    def test_of_equal_age_the_lower_cookie_is_the_older(self) -> None:
        claims = {a_netns(9): a_claim(), a_netns(8): a_claim()}

        owners = resolve_labels(claims, [])

        assert owners[a_netns(8)].netns == ""
        assert owners[a_netns(9)].netns == "cookie/9"

    def test_a_mount_tells_the_others_apart(self) -> None:
        claims = [
            a_claim(since=1, alias="named/main"),
            a_claim(since=2, alias="named/blue"),
            a_claim(since=3, alias="named/blue"),
            a_claim(since=4, alias="named/red"),
        ]

        assert settled(claims) == ["", "named/blue", "cookie/3", "named/red"]

    def test_different_owners_do_not_stand_in_each_others_way(self) -> None:
        claims = [a_claim(an_owner(uid=uid)) for uid in (UID, OTHER_UID)]

        assert settled(claims) == ["", ""]

    def test_what_only_describes_does_not_tell_apart(self) -> None:
        claims = [a_claim(an_owner(comm=comm, runtime=comm)) for comm in ("a", "b")]

        assert settled(claims) == ["", "cookie/2"]

    def test_a_process_is_always_told_by_its_cookie(self) -> None:
        said = claim_owner(some_facts(a_process(comm="unshare")), {})

        assert settled([said]) == ["cookie/1"]

    def test_two_namespaces_of_one_unit(self) -> None:
        owner = Owner(kind="unit", netns="unit/nginx.service")

        assert settled([a_claim(owner), a_claim(owner)]) == [
            "unit/nginx.service",
            "cookie/2",
        ]

    def test_two_mounts_of_one_name(self) -> None:
        owner = Owner(kind="named", netns="named/blue")

        assert settled([a_claim(owner), a_claim(owner)]) == ["named/blue", "cookie/2"]

    def test_settling_changes_nothing_but_the_name(self) -> None:
        netns, owner = a_netns(), an_owner()

        assert resolve_labels({netns: a_claim(owner)}, []) == {netns: owner}

    def test_a_name_that_is_settled_is_not_given_twice(self) -> None:
        older = a_claim(since=1, alias="named/blue")

        assert settled([older], [an_owner()]) == ["named/blue"]
        assert settled([older], [an_owner(), an_owner(netns="named/blue")]) == [
            "cookie/1"
        ]

    def test_nothing_to_settle(self) -> None:
        assert resolve_labels({}, [an_owner()]) == {}

    def test_five_hundred_namespaces_of_one_cgroup_have_one_main(self) -> None:
        """As a container can make with unshare(2)."""
        claims = [
            claim_owner(some_facts(a_process(POD, pid=n, start_time=n)), PODS)
            for n in range(1, 501)
        ]

        names = settled(claims)

        assert names[0] == ""
        assert names[1:] == [f"cookie/{n}" for n in range(2, 501)]

    def test_five_hundred_that_share_one_mount_name(self) -> None:
        facts = some_facts(private_mounts=[("/x/blue", a_process(POD))])

        names = Counter(settled([claim_owner(facts, PODS)] * 500))

        assert names["named/blue"] == 1
        assert len(names) == 500

    def test_a_container_cannot_be_called_the_host(self) -> None:
        process = a_process(DOCKER)
        facts = [
            some_facts(host=True),
            some_facts(private_mounts=[("/run/netns/host", process)]),
            some_facts(mounts=["/run/netns/host"]),
        ]

        assert settled([claim_owner(f, {}) for f in facts]) == [
            "host",
            "named/host",
            "named/host",
        ]


class TestWithoutCookies:
    """Before Linux 5.14 the moment of discovery stands in."""

    def test_the_name_is_when_it_was_first_seen(self) -> None:
        netns = a_netns(None, first_seen=1_700_000_000.125)

        assert cookie_name(netns).startswith("seen/1700000000.125")
        assert cookie_name(a_netns(7)) == "cookie/7"

    def test_the_oldest_process_is_the_main_one_all_the_same(self) -> None:
        young, old = a_netns(None, first_seen=1.0), a_netns(None, ino=2, first_seen=2.0)

        owners = resolve_labels({young: a_claim(since=9), old: a_claim(since=8)}, [])

        assert owners[old].netns == ""
        assert owners[young].netns.startswith("seen/1.000")

    def test_two_of_one_millisecond_are_told_apart(self) -> None:
        one, two = (
            a_netns(None, ino=1, first_seen=1_700_000_000.0001),
            a_netns(None, ino=2, first_seen=1_700_000_000.0002),
        )
        nobodys = a_claim(Owner(kind="process"))

        owners = resolve_labels({one: nobodys, two: nobodys}, [])

        assert owner_labels(owners[one]) != owner_labels(owners[two])


class TestFinal:
    """When to stop looking."""

    @pytest.mark.parametrize(
        ("owner", "final"),
        [
            (the_host(), True),
            (an_owner(), True),
            (an_owner("container", namespace="", pod="", uid=""), True),
            (an_owner(namespace="", pod=""), False),
            (Owner(kind="named", netns="named/blue"), False),
            (Owner(kind="unit", netns="unit/nginx.service"), False),
            (Owner(kind="process"), False),
        ],
        ids=["host", "pod", "container", "nameless pod", "named", "unit", "process"],
    )
    def test_only_what_cannot_be_named_better_is_final(
        self, owner: Owner, *, final: bool
    ) -> None:
        assert is_final(owner) is final

    STRENGTH: tuple[OwnerKind, ...] = (
        "process",
        "unit",
        "named",
        "container",
        "pod",
        "host",
    )

    @pytest.mark.parametrize(
        ("weak", "strong"),
        list(itertools.combinations(STRENGTH, 2)),
    )
    def test_stronger_evidence_is_better_and_weaker_never(
        self, weak: OwnerKind, strong: OwnerKind
    ) -> None:
        one, two = Owner(kind=weak), Owner(kind=strong)

        assert is_better(a_claim(two), one)
        assert not is_better(a_claim(one), two)

    @pytest.mark.parametrize("kind", STRENGTH)
    def test_the_same_again_is_not_better(self, kind: OwnerKind) -> None:
        """A name that changed for nothing would be a new series."""
        named = Owner(kind=kind, netns="named/red")

        assert not is_better(a_claim(named), Owner(kind=kind, netns="named/blue"))

    def test_a_pods_name_is_better_than_its_uid(self) -> None:
        nameless = an_owner(namespace="", pod="")

        assert is_better(a_claim(an_owner()), nameless)
        assert not is_better(a_claim(nameless), an_owner())
        assert not is_better(a_claim(an_owner()), an_owner())


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
FACTS = st.builds(
    Facts,
    processes=st.lists(PROCESSES, max_size=3).map(tuple),
    mounts=st.lists(PATHS, max_size=2).map(tuple),
    private_mounts=st.lists(st.tuples(PATHS, PROCESSES), max_size=2).map(tuple),
)
CLAIMS = FACTS.map(lambda facts: claim_owner(facts, PODS))


def all_labels(owners: Mapping[NetnsId, Owner]) -> list[tuple[str, ...]]:
    return [owner_labels(owner) for owner in owners.values()]


@given(st.lists(CLAIMS, max_size=12), st.lists(CLAIMS, max_size=12))
def test_no_two_namespaces_are_ever_called_alike(
    early: list[Claim], late: list[Claim]
) -> None:
    before = resolve_labels({a_netns(n): c for n, c in enumerate(early, 1)}, [])
    after = resolve_labels(
        {a_netns(n): c for n, c in enumerate(late, 101)}, before.values()
    )

    named = [*all_labels(before), *all_labels(after)]

    assert len(set(named)) == len(early) + len(late)


@given(CLAIMS, st.lists(st.floats(0, 1e9), unique_by=round, max_size=6))
def test_without_cookies_different_moments_are_different_names(
    one: Claim, moments: list[float]
) -> None:
    ids = [a_netns(None, first_seen=round(moment)) for moment in moments]

    assert len(set(all_labels(resolve_labels(dict.fromkeys(ids, one), [])))) == len(
        moments
    )


@given(FACTS)
def test_facts_that_are_not_the_hosts_never_claim_to_be(facts: Facts) -> None:
    said = claim_owner(facts, PODS).owner

    assert said.kind != "host"
    assert said.netns.startswith(("named/", "unit/", "within/")) or not said.netns


@given(FACTS)
def test_a_pods_name_comes_only_with_its_uid_and_never_to_a_nested_one(
    facts: Facts,
) -> None:
    said = claim_owner(facts, PODS).owner
    processes = [*facts.processes, *(process for _, process in facts.private_mounts)]

    assert (said.namespace, said.pod) in {("", ""), PODS.get(said.uid, ("", ""))[:2]}
    assert not said.pod or any(
        p.cgroup.pod_uid == said.uid and not p.cgroup.nested_in for p in processes
    )


@given(st.lists(PROCESSES), st.lists(PATHS), st.lists(PATHS))
def test_nothing_that_comes_later_changes_whose_a_containers_namespace_is(
    others: list[ProcessFacts], mounts: list[str], private_mounts: list[str]
) -> None:
    own = a_process(DOCKER, pid=0, start_time=0)
    facts = some_facts(
        *others,
        own,
        mounts=mounts,
        private_mounts=[(path, own) for path in private_mounts],
    )

    said = owner_labels(claim_owner(facts, PODS).owner)

    assert said == ("", "", "", "a1a1a1a1a1a1", "")
