"""Owners of namespaces: what determines them, and forgeries that do not."""

import itertools
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Owner, OwnerKind
from exporter.owner import owner_key
from exporter.ownership.claims import (
    Claim,
    Facts,
    PodName,
    PrivateMountFacts,
    ProcessFacts,
    claim_owner,
    is_better,
    is_final,
)
from exporter.runtimes.cgroup import CgroupPath
from tests.support.builders import (
    CONTAINER,
    OTHER_CONTAINER,
    OTHER_UID,
    UID,
    a_cgroup_path,
    a_claim,
    a_process,
    an_owner,
    some_facts,
    the_host,
)
from tests.support.owner_facts import (
    DOCKER,
    FACTS,
    NGINX,
    OTHER_DOCKER,
    OTHER_POD,
    PATHS,
    POD,
    PODS,
    PROCESSES,
    UUID,
    netns_labels,
)

USER_UNIT = CgroupPath(unit="nginx.service", nested_in="user@1000.service")


class TestTheHost:
    """Its namespace needs no other fact."""

    def test_it_is_the_host_whatever_holds_it(self) -> None:
        facts = some_facts(a_process(POD), is_host=True, mounts=["/run/netns/blue"])

        assert claim_owner(facts, PODS) == Claim(owner=the_host(), is_complete=True)


class TestContainers:
    """The cgroup of the oldest process determines the container."""

    def test_a_container_without_a_name_is_named_by_twelve_digits_of_its_id(
        self,
    ) -> None:
        claim = claim_owner(
            some_facts(a_process(DOCKER, comm="nginx", start_time=5)), {}
        )

        assert claim == Claim(
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

    def test_containers_whose_names_begin_alike_have_different_labels(self) -> None:
        """LXC and Garden have names, not digests."""
        names = ["production-web", "production-worker"]
        groups = [a_cgroup_path(name, runtime="lxc") for name in names]

        first, second = (
            claim_owner(some_facts(a_process(group)), {}).owner for group in groups
        )

        assert owner_key(first) != owner_key(second)

    def test_the_oldest_process_decides_whatever_the_order(self) -> None:
        old = a_process(DOCKER, pid=900, start_time=1, comm="old")
        young = a_process(DOCKER, pid=100, start_time=2, comm="young")

        for order in itertools.permutations([old, young]):
            claim = claim_owner(some_facts(*order), {})
            assert (claim.owner.comm, claim.start_time) == ("old", 1)

    def test_of_two_that_started_in_the_same_tick_the_lower_pid_decides(self) -> None:
        first = a_process(DOCKER, pid=10, comm="first")
        second = a_process(OTHER_DOCKER, pid=11, comm="second")

        assert claim_owner(some_facts(second, first), {}).owner.comm == "first"

    @pytest.mark.parametrize("intruder", [OTHER_DOCKER, OTHER_POD, NGINX, CgroupPath()])
    def test_a_younger_process_of_another_owner_changes_nothing(
        self, intruder: CgroupPath
    ) -> None:
        own = a_process(DOCKER, pid=900, start_time=1)
        late = a_process(intruder, pid=100, start_time=2)

        assert claim_owner(some_facts(late, own), PODS) == claim_owner(
            some_facts(own), PODS
        )

    @pytest.mark.parametrize("bystander", [NGINX, CgroupPath()])
    def test_an_older_process_outside_containers_prevents_a_container_claim(
        self, bystander: CgroupPath
    ) -> None:
        older = a_process(bystander, start_time=1)

        claim = claim_owner(some_facts(older, a_process(DOCKER, start_time=2)), {})

        assert claim.owner.container_id == ""

    def test_a_container_takes_precedence_over_a_mount(self) -> None:
        claim = claim_owner(
            some_facts(a_process(DOCKER), mounts=["/run/netns/blue"]), {}
        )

        assert (claim.owner.kind, claim.owner.netns) == ("container", "")
        assert claim.alias == "named/blue"

    def test_a_mount_in_its_own_mount_namespace_is_an_alias_too(self) -> None:
        process = a_process(DOCKER)

        claim = claim_owner(
            some_facts(process, private_mounts=[("/x/red", process)]), {}
        )

        assert (claim.owner.netns, claim.alias) == ("", "named/red")

    def test_a_mount_of_the_host_is_the_preferred_alias(self) -> None:
        process = a_process(DOCKER)
        facts = some_facts(
            process, mounts=["/run/netns/blue"], private_mounts=[("/x/red", process)]
        )

        assert claim_owner(facts, {}).alias == "named/blue"


class TestShims:
    """conmon and lxc-start run beside the container they supervise."""

    SHIM = a_process(
        a_cgroup_path(OTHER_CONTAINER, runtime="podman", is_shim=True), start_time=1
    )

    def test_an_older_shim_is_ignored(self) -> None:
        claim = claim_owner(some_facts(self.SHIM, a_process(DOCKER, start_time=2)), {})

        assert claim.owner.container_id == CONTAINER

    def test_a_shim_is_ignored_in_favour_of_a_unit(self) -> None:
        claim = claim_owner(some_facts(self.SHIM, a_process(NGINX, start_time=2)), {})

        assert claim.owner.kind == "unit"

    def test_shims_alone_determine_the_container(self) -> None:
        claim = claim_owner(some_facts(self.SHIM), {})

        assert claim.owner.container_id == OTHER_CONTAINER
        assert claim.owner.runtime == "podman"


class TestPods:
    """The uid is in the cgroup, the name in the kubelet's log directories."""

    def test_a_pod_gets_its_name_from_the_log_directory(self) -> None:
        claim = claim_owner(
            some_facts(a_process(POD, comm="pause", start_time=5)), PODS
        )

        assert claim == Claim(
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

    def test_the_containers_of_a_pod_have_the_same_owner(self) -> None:
        pause, app = (
            a_cgroup_path(pod_uid=UID),
            a_cgroup_path(OTHER_CONTAINER, pod_uid=UID),
        )

        both = [claim_owner(some_facts(a_process(g)), PODS).owner for g in (pause, app)]

        assert owner_key(both[0]) == owner_key(both[1])

    @pytest.mark.parametrize("pods", [{}, {OTHER_UID: PodName("shop", "db-0")}])
    def test_a_pod_without_a_name_has_its_uid_and_may_still_get_one(
        self, pods: Mapping[str, PodName]
    ) -> None:
        claim = claim_owner(some_facts(a_process(POD)), pods)

        assert owner_key(claim.owner) == ("", "", UID, "", "")
        assert (claim.owner.kind, claim.owner.evidence) == ("pod", "cgroup")
        assert not claim.is_complete

    @pytest.mark.parametrize(
        ("nested_in", "netns"),
        [
            (CONTAINER, "within/a1a1a1a1a1a1"),
            ("user@1000.service", "within/user@1000.service"),
        ],
    )
    def test_a_pod_within_another_owner_is_no_pod_of_this_host(
        self, nested_in: str, netns: str
    ) -> None:
        """Its cgroup could be given the uid of any other pod."""
        inner = a_cgroup_path(OTHER_CONTAINER, pod_uid=UID, nested_in=nested_in)

        claim = claim_owner(some_facts(a_process(inner)), PODS)

        assert owner_key(claim.owner) == ("", "", "", "b2b2b2b2b2b2", netns)
        assert claim.owner.kind == "container"

    def test_a_forged_cgroup_cannot_take_the_labels_of_a_container(self) -> None:
        real = claim_owner(some_facts(a_process(DOCKER, start_time=9)), {})
        forged_group = a_cgroup_path(CONTAINER, nested_in="user@1000.service")
        forged = [
            claim_owner(some_facts(a_process(forged_group, start_time=1)), {}),
            claim_owner(
                some_facts(private_mounts=[("/x", a_process(forged_group))]), {}
            ),
            claim_owner(some_facts(a_process(forged_group, is_visitor=True)), {}),
        ]

        assert sorted(netns_labels([real, *forged])) == [
            "",
            "within/user@1000.service",
            "within/user@1000.service/cookie/4",
            "within/user@1000.service/named/x",
        ]

    def test_a_container_outside_pods_is_not_a_pod_without_a_name(self) -> None:
        claim = claim_owner(some_facts(a_process(DOCKER)), PODS)

        assert owner_key(claim.owner) == ("", "", "", "a1a1a1a1a1a1", "")


class TestVisitors:
    """A CNI plug-in, nsenter or a debug container in a namespace of another owner."""

    def test_a_visitor_does_not_claim_a_sandbox_that_a_runtime_made(self) -> None:
        facts = some_facts(
            a_process(POD, is_visitor=True), mounts=["/run/docker/netns/3fa9c1d2e4b5"]
        )

        assert claim_owner(facts, PODS).owner.kind == "named"

    def test_a_visitor_older_than_the_owner_does_not_claim_the_namespace(self) -> None:
        facts = some_facts(
            a_process(POD, is_visitor=True, start_time=1),
            a_process(DOCKER, start_time=9),
        )

        assert claim_owner(facts, PODS).owner.container == "a1a1a1a1a1a1"

    def test_a_thread_does_not_claim_a_mounted_namespace(self) -> None:
        facts = some_facts(threads=[a_process(POD)], mounts=["/run/netns/blue"])

        assert claim_owner(facts, PODS).owner.netns == "named/blue"

    @pytest.mark.parametrize("where", ["processes", "threads"])
    def test_a_namespace_that_a_container_made_is_not_its_main_one(
        self, where: str
    ) -> None:
        processes = (a_process(POD, is_visitor=where == "processes"),)
        nested = claim_owner(
            msgspec.structs.replace(Facts(), **{where: processes}), PODS
        )
        main = claim_owner(some_facts(a_process(POD, start_time=5000)), PODS)

        assert not nested.is_complete
        assert netns_labels([nested, main]) == ["cookie/1", ""]
        assert owner_key(nested.owner) == owner_key(main.owner)

    @pytest.mark.parametrize("is_visitor", [True, False])
    def test_a_later_process_does_not_claim_the_namespace_of_a_unit(
        self, *, is_visitor: bool
    ) -> None:
        """Neither by nsenter, nor as an exec'd process with the shim as its parent."""
        facts = some_facts(
            a_process(NGINX, start_time=1),
            a_process(POD, is_visitor=is_visitor, start_time=2),
        )

        assert claim_owner(facts, PODS).owner.kind == "unit"

    def test_a_name_that_an_operator_chose_is_final(self) -> None:
        chosen = claim_owner(some_facts(mounts=["/run/netns/blue"]), {}).owner
        sandbox = claim_owner(
            some_facts(mounts=["/run/docker/netns/3fa9c1d2e4b5"]), {}
        ).owner

        assert is_final(chosen)
        assert not is_final(sandbox)


class TestMounts:
    """Names that an operator, a runtime or a container chose."""

    def test_a_namespace_of_ip_netns_is_named_by_its_mount(self) -> None:
        claim = claim_owner(some_facts(mounts=["/run/netns/blue"]), {})

        assert claim.owner == Owner(kind="named", netns="named/blue", evidence="mount")
        assert claim.is_complete

    @pytest.mark.parametrize("process", [a_process(NGINX), a_process()])
    def test_a_mount_takes_precedence_over_a_unit_and_a_process(
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
    def test_a_mount_of_a_runtime_is_a_name_until_its_container_starts(
        self, path: str
    ) -> None:
        claim = claim_owner(some_facts(mounts=[path]), {})

        assert claim.owner.netns == f"named/{path.rpartition('/')[2]}"
        assert claim.owner.kind == "named"
        assert not claim.is_complete

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
    def test_a_mount_that_resembles_a_runtimes_is_an_operators(self, path: str) -> None:
        assert claim_owner(some_facts(mounts=[path]), {}).is_complete

    @pytest.mark.parametrize(
        ("path", "runtime"),
        [
            ("/run/docker/netns/3fa09c1b2d4e", "docker"),
            (f"/run/netns/cni-{UUID}", ""),
            (f"/run/netns/{UUID}", ""),
            ("/run/netns/blue", ""),
        ],
    )
    def test_a_mount_names_its_runtime_if_no_other_makes_such_mounts(
        self, path: str, runtime: str
    ) -> None:
        assert claim_owner(some_facts(mounts=[path]), {}).owner.runtime == runtime

    def test_an_operators_mount_takes_precedence_over_a_runtimes(self) -> None:
        paths = [f"/run/netns/cni-{UUID}", "/run/netns/blue"]

        claim = claim_owner(some_facts(mounts=paths), {})

        assert claim.owner.netns == "named/blue"
        assert claim.is_complete

    def test_a_mount_in_the_mount_namespace_of_a_container_is_the_containers(
        self,
    ) -> None:
        claim = claim_owner(
            some_facts(private_mounts=[("/run/netns/blue", a_process(DOCKER))]), {}
        )

        assert owner_key(claim.owner) == ("", "", "", "a1a1a1a1a1a1", "")
        assert netns_labels([claim]) == ["named/blue"]

    def test_a_mount_in_the_mount_namespace_of_a_pod_is_the_pods(self) -> None:
        claim = claim_owner(
            some_facts(private_mounts=[("/run/netns/blue", a_process(POD))]), PODS
        )

        assert owner_key(claim.owner) == ("shop", "web-0", UID, "", "")
        assert netns_labels([claim]) == ["named/blue"]

    def test_a_mount_of_a_container_takes_precedence_over_that_of_a_unit(self) -> None:
        mounts = [("/run/netns/a", a_process(NGINX)), ("/run/b", a_process(DOCKER))]

        for order in itertools.permutations(mounts):
            claim = claim_owner(some_facts(private_mounts=order), {})
            assert owner_key(claim.owner) == ("", "", "", "a1a1a1a1a1a1", "")
            assert netns_labels([claim]) == ["named/b"]

    def test_a_process_inside_takes_precedence_over_a_mount_elsewhere(self) -> None:
        facts = some_facts(
            a_process(DOCKER), private_mounts=[("/x/blue", a_process(OTHER_DOCKER))]
        )

        assert claim_owner(facts, {}).owner.container_id == CONTAINER

    def test_a_mount_of_the_host_takes_precedence_over_that_of_a_container(
        self,
    ) -> None:
        facts = some_facts(
            mounts=["/run/netns/blue"],
            private_mounts=[("/run/netns/evil", a_process(DOCKER))],
        )

        assert claim_owner(facts, {}).owner.netns == "named/blue"

    def test_a_mount_that_only_root_can_make_is_named_as_in_pid_1s_view(self) -> None:
        """As the one of a unit with PrivateTmp=."""
        mount = a_private_mount(a_process(NGINX), is_of_root=True)

        claim = claim_owner(some_facts(private_mounts=[mount]), {})

        assert (claim.owner.kind, claim.owner.netns) == ("named", "named/blue")

    @pytest.mark.parametrize(
        ("group", "netns"),
        [
            (NGINX, "within/nginx.service/named/blue"),
            (USER_UNIT, "within/user@1000.service/named/blue"),
            (
                CgroupPath(unit="user@1000.service"),
                "within/user@1000.service/named/blue",
            ),
            (CgroupPath(nested_in="default/evil"), "within/default:evil/named/blue"),
            (CgroupPath(), "within/uid:1000/named/blue"),
        ],
    )
    def test_a_mount_that_a_user_can_make_names_the_party_too(
        self, group: CgroupPath, netns: str
    ) -> None:
        mount = a_private_mount(a_process(group), uid=1000)

        claim = claim_owner(some_facts(private_mounts=[mount]), {})

        assert (claim.owner.kind, claim.owner.netns) == ("named", netns)
        assert not is_final(claim.owner), "the node's root may name it yet"

    @pytest.mark.parametrize(
        "mounting",
        [DOCKER, POD, USER_UNIT, CgroupPath(), CgroupPath(nested_in="default/evil")],
    )
    @pytest.mark.parametrize(
        "inside",
        [NGINX, CgroupPath(), CgroupPath(unit="a.service", nested_in="user@7")],
    )
    def test_a_mount_of_another_party_names_no_namespace_with_processes(
        self, inside: CgroupPath, mounting: CgroupPath
    ) -> None:
        """Any user may mount a namespace that it can open."""
        process = a_process(inside)
        mount = a_private_mount(a_process(mounting))

        claim = claim_owner(some_facts(process, private_mounts=[mount]), PODS)

        assert claim == claim_owner(some_facts(process), PODS)

    def test_a_mount_of_its_own_party_names_a_namespace_with_processes(self) -> None:
        process = a_process(USER_UNIT)
        mount = a_private_mount(a_process(CgroupPath(unit="user@1000.service")))

        claim = claim_owner(some_facts(process, private_mounts=[mount]), {})

        assert claim.owner.netns == "within/user@1000.service/named/blue"

    def test_a_mount_of_another_party_is_no_alias_of_a_container(self) -> None:
        process = a_process(DOCKER)
        mount = a_private_mount(a_process(OTHER_DOCKER), path="/a")

        claim = claim_owner(some_facts(process, private_mounts=[mount]), {})

        assert claim.alias == ""

    @pytest.mark.parametrize("group", [USER_UNIT, CgroupPath()])
    def test_what_root_names_later_takes_precedence(self, group: CgroupPath) -> None:
        mount = a_private_mount(a_process(group))
        before = claim_owner(some_facts(private_mounts=[mount]), {}).owner

        after = claim_owner(
            some_facts(mounts=["/run/netns/blue"], private_mounts=[mount]), {}
        )

        assert after.owner.netns == "named/blue"
        assert is_better(after, before)
        assert not is_better(a_claim(before), after.owner)


def a_private_mount(
    process: ProcessFacts,
    *,
    path: str = "/run/netns/blue",
    uid: int = 1000,
    is_of_root: bool = False,
) -> PrivateMountFacts:
    return PrivateMountFacts(path=path, process=process, uid=uid, is_of_root=is_of_root)


class TestUnitsAndProcesses:
    """Owners of namespaces without a container and without a mount."""

    def test_a_unit_of_a_user_is_within_the_users_manager(self) -> None:
        claim = claim_owner(some_facts(a_process(USER_UNIT)), {})

        assert claim.owner.netns == "within/user@1000.service/unit/nginx.service"
        assert netns_labels([claim, claim_owner(some_facts(a_process(NGINX)), {})]) == [
            "within/user@1000.service/unit/nginx.service",
            "unit/nginx.service",
        ]

    def test_a_unit_is_claimed_until_a_container_appears(self) -> None:
        claim = claim_owner(
            some_facts(a_process(NGINX, comm="nginx", start_time=5)), {}
        )

        assert claim == Claim(
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

        claim = claim_owner(some_facts(late, unit, shell), {})

        assert claim.owner.netns == "unit/nginx.service"

    def test_a_process_without_unit_and_container_has_only_its_name(self) -> None:
        claim = claim_owner(some_facts(a_process(comm="unshare", start_time=5)), {})

        assert claim.owner == Owner(kind="process", evidence="comm", comm="unshare")
        assert (claim.is_complete, claim.start_time) == (False, 5)

    def test_a_namespace_without_any_fact_has_an_owner_too(self) -> None:
        claim = claim_owner(some_facts(), {})

        assert claim.owner == Owner(kind="process")
        assert not claim.is_complete


class TestFinal:
    """When an owner is not resolved again."""

    @pytest.mark.parametrize(
        ("owner", "expected"),
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
    def test_an_owner_is_final_if_no_better_name_is_possible(
        self, owner: Owner, *, expected: bool
    ) -> None:
        assert is_final(owner) is expected

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
    def test_only_stronger_evidence_is_better(
        self, weak: OwnerKind, strong: OwnerKind
    ) -> None:
        one, two = Owner(kind=weak), Owner(kind=strong)

        assert is_better(a_claim(two), one)
        assert not is_better(a_claim(one), two)

    @pytest.mark.parametrize("kind", STRENGTH)
    def test_the_same_kind_is_not_better(self, kind: OwnerKind) -> None:
        """A needless change of a name would make new series."""
        named = Owner(kind=kind, netns="named/red")

        assert not is_better(a_claim(named), Owner(kind=kind, netns="named/blue"))

    def test_the_name_of_a_pod_is_better_than_its_uid_alone(self) -> None:
        nameless = an_owner(namespace="", pod="")

        assert is_better(a_claim(an_owner()), nameless)
        assert not is_better(a_claim(nameless), an_owner())
        assert not is_better(a_claim(an_owner()), an_owner())


@given(FACTS)
def test_only_the_host_can_be_the_host(facts: Facts) -> None:
    owner = claim_owner(facts, PODS).owner

    assert owner.kind != "host"
    assert owner.netns.startswith(("named/", "unit/", "within/")) or not owner.netns


@given(FACTS)
def test_the_name_of_a_pod_takes_its_uid_in_a_cgroup_that_is_not_nested(
    facts: Facts,
) -> None:
    owner = claim_owner(facts, PODS).owner
    mounting = [mount.process for mount in facts.private_mounts]
    processes = [*facts.processes, *mounting]

    assert (owner.namespace, owner.pod) in {("", ""), PODS.get(owner.uid, ("", ""))[:2]}
    assert not owner.pod or any(
        p.cgroup.pod_uid == owner.uid and not p.cgroup.nested_in for p in processes
    )


@given(st.lists(PROCESSES), st.lists(PATHS), st.lists(PATHS))
def test_later_facts_do_not_change_the_owner_of_a_containers_namespace(
    others: list[ProcessFacts], mounts: list[str], private_mounts: list[str]
) -> None:
    own = a_process(DOCKER, pid=0, start_time=0)
    facts = some_facts(
        *others,
        own,
        mounts=mounts,
        private_mounts=[(path, own) for path in private_mounts],
    )

    labels = owner_key(claim_owner(facts, PODS).owner)

    assert labels == ("", "", "", "a1a1a1a1a1a1", "")
