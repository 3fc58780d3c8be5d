"""Identifying a container by its config.json, as each runtime writes it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.runtimes.oci import container, detect_sandbox, parse
from exporter.runtimes.records import Container, MalformedError, Sandbox, dotted
from tests.support.builders import CONTAINER, OTHER_CONTAINER, UID, a_config

CRI = "io.kubernetes.cri."
CRIO = "io.kubernetes.cri-o."
CNI = "/var/run/netns/cni-5d1f4a3e-7c1b-4f6e-9a55-0c8c1a2b3d4e"
OF_POD = {
    f"{CRI}sandbox-id": OTHER_CONTAINER,
    f"{CRI}sandbox-name": "web-0",
    f"{CRI}sandbox-namespace": "shop",
    f"{CRI}sandbox-uid": UID,
}
OF_CRIO_POD = {
    "io.container.manager": "cri-o",
    f"{CRIO}SandboxID": OTHER_CONTAINER,
    f"{CRIO}KubeName": "web-0",
    f"{CRIO}Namespace": "shop",
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": UID,
}
IN_POD = {f"{CRIO}ContainerType": "container", f"{CRIO}SandboxID": OTHER_CONTAINER}

KEYS = st.text() | st.sampled_from(
    [
        "hostname",
        "annotations",
        "linux",
        "namespaces",
        "sysctl",
        "type",
        "path",
        "io.container.manager",
        f"{CRI}container-type",
        f"{CRI}sandbox-id",
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(["network", "sandbox", "container", "libpod", "cri-o", "a/b.c"]),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(KEYS, value),
)
STRINGS = st.dictionaries(KEYS, st.text(), max_size=5)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "hostname": st.text(),
        "annotations": STRINGS | st.none(),
        "linux": st.fixed_dictionaries({}, optional={"sysctl": STRINGS}) | JSON,
    },
)


def annotated(
    annotations: dict[str, str],
    container_id: str = CONTAINER,
    *,
    runtime: str = "containerd",
) -> Container:
    config = a_config(annotations=annotations)
    return container(parse(config), container_id, runtime=runtime)


class TestTheSpecification:
    """The parts that every runtime writes alike."""

    def test_has_hostname_annotations_and_sysctls(self) -> None:
        spec = parse(
            a_config(
                hostname="web",
                annotations={"a": "b"},
                sysctls={"net.core.somaxconn": "1024"},
            )
        )

        assert spec.hostname == "web"
        assert spec.annotations == {"a": "b"}
        assert spec.sysctls == {"net.core.somaxconn": "1024"}

    @pytest.mark.parametrize("network", [None, "", CNI, "/proc/812/ns/net"])
    def test_has_the_network_that_it_joins(self, network: str | None) -> None:
        assert parse(a_config(network=network)).network == network

    def test_only_the_network_namespace_counts(self) -> None:
        text = b'{"linux": {"namespaces": [{"type": "ipc", "path": "/proc/1/ns/ipc"}]}}'

        assert parse(text).network is None

    @pytest.mark.parametrize(
        "text",
        [
            b"{}",
            b'{"hostname": null, "annotations": null, "linux": null}',
            b'{"linux": {"namespaces": null, "sysctl": null}}',
            b'{"linux": {"resources": {"devices": [{"allow": false}]}}, "x": [1]}',
        ],
    )
    def test_what_it_lacks_is_empty(self, text: bytes) -> None:
        spec = parse(text)

        assert (spec.hostname, spec.annotations, spec.sysctls) == ("", {}, {})
        assert spec.network is None

    def test_sysctls_have_dotted_names(self) -> None:
        spec = parse(a_config(sysctls={"net/ipv4/conf/eth0.100/forwarding": "1"}))

        assert spec.sysctls == {"net.ipv4.conf.eth0/100.forwarding": "1"}

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"{} {}",
            b"\xff",
            b'{"hostname": "\xff"}',
            b'{"hostname": "\\ud800"}',
            b'{"hostname": 1}',
            b'{"annotations": {"a": null}}',
            b'{"annotations": {"a": 1}}',
            b'{"linux": {"sysctl": {"net.core.somaxconn": 1024}}}',
            b'{"linux": {"namespaces": ["network"]}}',
        ],
    )
    def test_another_text_is_malformed(self, text: bytes) -> None:
        with pytest.raises(MalformedError):
            parse(text)

    @pytest.mark.parametrize("brackets", ["[", '{"a":'])
    def test_a_deeply_nested_text_is_malformed(self, brackets: str) -> None:
        text = b'{"x": %s' % (brackets.encode() * 10_000)

        with pytest.raises(MalformedError):
            parse(text)

    @given(st.binary() | (CONFIGS | JSON).map(lambda v: json.dumps(v).encode()))
    @example(b'{"linux": {"sysctl": {"": ""}}}')
    def test_any_text_gives_a_container_or_is_malformed(self, text: bytes) -> None:
        try:
            spec = parse(text)
        except MalformedError:
            return
        found = container(spec, CONTAINER, runtime="containerd")

        encoded = msgspec.json.encode(found)

        assert msgspec.json.decode(encoded, type=Container) == found


class TestSysctlNames:
    """Either spelling of sysctl(8)."""

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("net.core.somaxconn", "net.core.somaxconn"),
            ("net/core/somaxconn", "net.core.somaxconn"),
            ("net.ipv4.conf.eth0/1.forwarding", "net.ipv4.conf.eth0/1.forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "net.ipv4.conf.eth0/1.forwarding"),
            ("hostname", "hostname"),
            ("", ""),
        ],
    )
    def test_the_first_separator_decides_the_spelling(
        self, name: str, expected: str
    ) -> None:
        assert dotted(name) == expected

    @given(st.text("./a"))
    def test_a_dotted_name_stays_as_it_is(self, name: str) -> None:
        once = dotted(name)

        assert "/" not in once.split(".")[0]
        assert dotted(once) == once


class TestContainerd:
    """Its CRI plug-in writes the pod of a container into the annotations."""

    def test_a_sandbox_is_its_pod(self) -> None:
        annotations = {**OF_POD, f"{CRI}container-type": "sandbox"}
        config = a_config(
            annotations=annotations, network=CNI, sysctls={"net.core.somaxconn": "9"}
        )

        found = container(parse(config), OTHER_CONTAINER, runtime="containerd")

        assert found == Container(
            runtime="containerd",
            container_id=OTHER_CONTAINER,
            evidence="oci_bundle",
            namespace="shop",
            pod="web-0",
            uid=UID,
            is_sandbox=True,
            cgroup=f"/kubepods/besteffort/pod{UID}/{CONTAINER}",
            netns_path=CNI,
            sysctls={"net.core.somaxconn": "9"},
        )

    def test_a_container_of_a_pod_joined_its_sandboxs_network(self) -> None:
        annotations = {
            **OF_POD,
            f"{CRI}container-type": "container",
            f"{CRI}container-name": "app",
        }

        found = annotated(annotations)

        assert (found.namespace, found.pod, found.uid) == ("shop", "web-0", UID)
        assert (found.name, found.is_sandbox) == ("app", False)
        assert found.network_of == OTHER_CONTAINER

    def test_a_sandbox_has_no_name_of_its_own(self) -> None:
        annotations = {
            **OF_POD,
            f"{CRI}container-type": "sandbox",
            f"{CRI}container-name": "POD",
        }

        assert annotated(annotations, OTHER_CONTAINER).name == ""

    def test_a_pods_sandbox_id_alone_makes_no_pod(self) -> None:
        assert annotated(OF_POD).uid == ""


class TestATrustedCgroup:
    """A pod is accepted only by a cgroup that its owner did not choose."""

    @pytest.mark.parametrize(
        "annotations",
        [
            {**OF_POD, f"{CRI}container-type": "sandbox"},
            {**OF_CRIO_POD, f"{CRIO}ContainerType": "container"},
            {**OF_CRIO_POD, f"{CRIO}RuntimeHandler": "kata"},
        ],
        ids=["cri", "crio", "handler"],
    )
    def test_a_cgroup_that_the_user_chose_confirms_no_pod(
        self, annotations: dict[str, str]
    ) -> None:
        spec = parse(a_config(annotations=annotations))

        found = container(spec, CONTAINER, runtime="docker", is_cgroup_trusted=False)

        assert spec.cgroup.pod_uid == UID
        assert found == Container(
            runtime="docker",
            container_id=CONTAINER,
            evidence="oci_bundle",
            cgroup=spec.cgroup_path,
        )


class TestCrio:
    """Its containers are recognized by the cgroup, with any reader."""

    @pytest.mark.parametrize("reader", ["podman", "runc", "containerd"])
    def test_a_sandbox_is_its_pod(self, reader: str) -> None:
        annotations = {
            **OF_CRIO_POD,
            f"{CRIO}ContainerType": "sandbox",
            "io.kubernetes.container.name": "POD",
        }

        assert annotated(annotations, OTHER_CONTAINER, runtime=reader) == Container(
            runtime="crio",
            container_id=OTHER_CONTAINER,
            evidence="oci_bundle",
            namespace="shop",
            pod="web-0",
            uid=UID,
            is_sandbox=True,
            cgroup=f"/kubepods/besteffort/pod{UID}/crio-{CONTAINER}",
        )

    def test_a_container_has_its_name_within_the_pod(self) -> None:
        annotations = {
            **OF_CRIO_POD,
            f"{CRIO}ContainerType": "container",
            "io.kubernetes.container.name": "app",
        }

        found = annotated(annotations, runtime="podman")

        assert (found.namespace, found.pod, found.uid) == ("shop", "web-0", UID)
        assert (found.name, found.network_of) == ("app", OTHER_CONTAINER)
        assert not found.is_sandbox

    def test_its_handler_shows_a_sandboxed_runtime(self) -> None:
        annotations = {
            **OF_CRIO_POD,
            f"{CRIO}ContainerType": "sandbox",
            f"{CRIO}RuntimeHandler": "kata-qemu",
        }

        assert annotated(annotations, runtime="podman").sandbox == "kata"


class TestPodman:
    """It has pods that are not those of Kubernetes."""

    def test_its_pods_are_not_kubernetess(self) -> None:
        """An image may contain all annotations of a pod, and of its manager."""
        annotations = {
            **OF_POD,
            **OF_CRIO_POD,
            **IN_POD,
            f"{CRIO}RuntimeHandler": "runsc",
            "nerdctl/name": "bank",
            "com.docker.compose.project": "bank",
        }
        group = f"/libpod_parent/libpod-{CONTAINER}"
        config = a_config(annotations=annotations, cgroup=group)

        found = container(parse(config), CONTAINER, runtime="podman")

        assert found == Container(
            runtime="podman",
            container_id=CONTAINER,
            evidence="oci_bundle",
            cgroup=group,
        )


class TestSandboxes:
    """A sandbox is detected by the names of the programs that run a container."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], ""),
            (["runc", "/usr/bin/containerd-shim-runc-v2", "crun"], ""),
            (["/usr/bin/containerd-shim-runsc-v1"], "gvisor"),
            (["", "runsc"], "gvisor"),
            (["gVisor"], "gvisor"),
            (["/usr/bin/containerd-shim-kata-v2"], "kata"),
            (["kata-qemu"], "kata"),
            (["/opt/kata/bin/runc"], ""),
            (["/home/runsc/bin/runc"], ""),
        ],
    )
    def test_only_the_file_name_of_a_program_counts(
        self, words: list[str], expected: Sandbox
    ) -> None:
        assert detect_sandbox(words) == expected

    def test_a_handler_that_a_pods_author_may_choose_is_ignored(self) -> None:
        annotations = {"io.containerd.cri.runtime-handler": "gvisor"}

        assert annotated(annotations).sandbox == ""

    def test_the_shim_shows_what_the_annotations_lack(self) -> None:
        spec: Any = parse(a_config())

        found = container(
            spec, CONTAINER, runtime="docker", shim=["", "/x/containerd-shim-kata-v2"]
        )

        assert found.sandbox == "kata"
