"""Pod names from the kubelet's log directories."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.runtimes.pod_logs import parse_pod_directories, read_pod_names

UID = "0d137909-8596-495c-92b3-048a901457b2"
OTHER = "7260904b-bd08-e72e-4dff-95d9fccd2ee8"
STATIC = "b53dfa9e2dc9b890f7fadb2770857b03"


def test_a_directory_names_its_pod() -> None:
    names = [f"shop_web-0_{UID}", f"kube-system_etcd-node-1_{STATIC}"]

    assert parse_pod_directories(names) == {
        UID: ("shop", "web-0"),
        STATIC: ("kube-system", "etcd-node-1"),
    }


def test_a_pod_name_may_hold_dots() -> None:
    pod = "kube-proxy-node-1.example.com"

    assert parse_pod_directories([f"kube-system_{pod}_{UID}"]) == {
        UID: ("kube-system", pod)
    }


@pytest.mark.parametrize(
    "name",
    [
        "",
        "_",
        "__",
        "lost+found",
        "shop",
        "shop_web-0",
        f"shop__{UID}",
        f"_web-0_{UID}",
        "shop_web-0_",
        f"shop_web_0_{UID}",
        f"shop_web-0_{UID}_old",
    ],
)
def test_a_directory_of_another_shape_names_nothing(name: str) -> None:
    assert parse_pod_directories([name]) == {}
    assert parse_pod_directories([name, f"shop_web-0_{UID}"]) == {
        UID: ("shop", "web-0")
    }


@given(st.lists(st.text("_-a0.\udcff\n")))
def test_any_directory_names_give_whole_pods_or_none(names: list[str]) -> None:
    for uid, (namespace, pod) in parse_pod_directories(names).items():
        assert f"{namespace}_{pod}_{uid}" in names
        assert namespace
        assert pod
        assert uid


@pytest.mark.parametrize("end", ["", "/"])
def test_directories_are_read_below_the_nodes_root(tmp_path: Path, end: str) -> None:
    (tmp_path / f"var/log/pods/shop_web-0_{UID}/app").mkdir(parents=True)
    (tmp_path / f"var/log/pods/shop_web-1_{OTHER}").mkdir()
    (tmp_path / "var/log/pods/notes.txt").touch()

    assert read_pod_names(f"{tmp_path}{end}") == {
        UID: ("shop", "web-0"),
        OTHER: ("shop", "web-1"),
    }


def test_a_node_without_a_kubelet_has_no_pods(tmp_path: Path) -> None:
    assert read_pod_names(str(tmp_path)) == {}


def test_an_empty_directory_has_no_pods(tmp_path: Path) -> None:
    (tmp_path / "var/log/pods").mkdir(parents=True)

    assert read_pod_names(str(tmp_path)) == {}


def test_a_file_in_the_directorys_place_has_no_pods(tmp_path: Path) -> None:
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/pods").touch()

    assert read_pod_names(str(tmp_path)) == {}
