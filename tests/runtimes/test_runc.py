"""The files of runc and crun: pid, start time and bundle of a container."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes import runc
from exporter.runtimes.records import Container, MalformedError
from exporter.runtimes.runc import State, parse_crun, parse_runc
from tests.support.builders import CONTAINER, NOW, OTHER_CONTAINER, UID, a_config

LIMIT = 1 << 16
STORAGE = "/var/lib/containers/storage/overlay-containers"
FORMS = ["runc", "crun"]


def put(path: Path, body: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def state_of_runc(bundle: str, pid: int = 812, start: int = 4711) -> bytes:
    return json.dumps(
        {
            "id": "web",
            "init_process_pid": pid,
            "init_process_start": start,
            "created": "2024-01-01T00:00:00Z",
            "config": {
                "rootfs": "/x",
                "labels": ["a=b", "bundle2=/no", "", f"bundle={bundle}", "bundle=/no"],
            },
        }
    ).encode()


def status_of_crun(bundle: str, pid: int = 812, start: int = 4711) -> bytes:
    return json.dumps(
        {
            "pid": pid,
            "process-start-time": start,
            "cgroup-path": "/x",
            "bundle": bundle,
            "rootless": False,
        }
    ).encode()


def put_state(root: Path, form: str, name: str, bundle: str) -> Path:
    """Write the file that *form* keeps about a container."""
    if form == "runc":
        return put(root / f"run/runc/{name}/state.json", state_of_runc(bundle))
    return put(root / f"run/crun/{name}/status", status_of_crun(bundle))


def read(root: Path, form: str, name: str, limit: int = LIMIT) -> Container | None:
    reader = {"runc": runc.read_runc, "crun": runc.read_crun}[form]
    return reader(RootDirectory(str(root)), f"/run/{form}", name, limit)


@pytest.mark.parametrize("form", FORMS)
class TestContainers:
    """A container that one of the two runs, for a user or for another runtime."""

    def test_that_no_other_runtime_manages_has_only_an_id(
        self, tmp_path: Path, form: str
    ) -> None:
        config = a_config(sysctls={"net.core.somaxconn": "9"})
        os.utime(put(tmp_path / "srv/web/config.json", config), (NOW, NOW))
        put_state(tmp_path, form, "web", "/srv/web")

        assert read(tmp_path, form, "web") == Container(
            runtime=form,
            container_id="web",
            evidence="oci_bundle",
            cgroup=f"/{CONTAINER}",
            pid=812,
            pid_start=4711,
            sysctls={"net.core.somaxconn": "9"},
            started=NOW,
        )

    @pytest.mark.parametrize("bundle", ["", "/gone", "/b\0"])
    def test_without_its_bundle_is_identified_by_its_process(
        self, tmp_path: Path, form: str, bundle: str
    ) -> None:
        put_state(tmp_path, form, "web", bundle)

        found = read(tmp_path, form, "web")

        assert found == Container(
            runtime=form,
            container_id="web",
            evidence="oci_bundle",
            pid=812,
            pid_start=4711,
        )

    def test_that_podman_or_crio_made_is_left_to_their_own_files(
        self, tmp_path: Path, form: str
    ) -> None:
        bundle = f"{STORAGE}/{CONTAINER}/userdata"
        put(tmp_path / f"{bundle}/config.json"[1:], a_config())
        put_state(tmp_path, form, CONTAINER, bundle)

        assert read(tmp_path, form, CONTAINER) is None

    def test_of_a_pod_keeps_the_pods_name(self, tmp_path: Path, form: str) -> None:
        annotations = {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-id": CONTAINER,
            "io.kubernetes.cri.sandbox-name": "web-0",
            "io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.sandbox-uid": UID,
        }
        put(tmp_path / "b/config.json", a_config(annotations=annotations))
        put_state(tmp_path, form, CONTAINER, "/b")

        found = read(tmp_path, form, CONTAINER)

        assert found is not None
        assert (found.pod, found.name, found.runtime) == ("web-0", "", form)

    def test_without_a_state_is_none(self, tmp_path: Path, form: str) -> None:
        put_state(tmp_path, form, "web", "/b").unlink()

        assert read(tmp_path, form, "web") is None
        assert read(tmp_path, form, "missing") is None

    def test_is_bounded_in_every_file(self, tmp_path: Path, form: str) -> None:
        put_state(tmp_path, form, OTHER_CONTAINER, "/b")
        config = a_config(hostname="x" * 1000)
        put(tmp_path / "b/config.json", config)

        assert read(tmp_path, form, OTHER_CONTAINER, len(config))
        for limit in (len(config) - 1, 100):
            with pytest.raises(OSError, match="longer than"):
                read(tmp_path, form, OTHER_CONTAINER, limit)

    def test_with_a_malformed_bundle_is_malformed(
        self, tmp_path: Path, form: str
    ) -> None:
        put_state(tmp_path, form, OTHER_CONTAINER, "/b")
        put(tmp_path / "b/config.json", b"{")

        with pytest.raises(MalformedError):
            read(tmp_path, form, OTHER_CONTAINER)


class TestStates:
    """The files themselves."""

    def test_runcs_bundle_is_a_label(self) -> None:
        assert parse_runc(state_of_runc("/b")) == State(
            pid=812, start_time=4711, bundle="/b"
        )

    def test_cruns_bundle_is_a_field(self) -> None:
        assert parse_crun(status_of_crun("/b")) == State(
            pid=812, start_time=4711, bundle="/b"
        )

    @pytest.mark.parametrize("parse", [parse_runc, parse_crun])
    def test_what_they_lack_is_empty(self, parse: Callable[[bytes], State]) -> None:
        assert parse(b"{}") == State(pid=0, start_time=0, bundle="")

    def test_runc_may_have_no_labels(self) -> None:
        assert parse_runc(b'{"config": {"labels": null}}').bundle == ""

    @pytest.mark.parametrize("parse", [parse_runc, parse_crun])
    @pytest.mark.parametrize("text", [b"", b"[]", b"null", b"\xff", b"{", b'{"": 1} x'])
    def test_another_text_is_malformed(
        self, parse: Callable[[bytes], State], text: bytes
    ) -> None:
        with pytest.raises(MalformedError):
            parse(text)

    @pytest.mark.parametrize(
        ("parse", "text"),
        [
            (parse_runc, b'{"init_process_pid": "7"}'),
            (parse_runc, b'{"config": {"labels": [1]}}'),
            (parse_crun, b'{"pid": null}'),
            (parse_crun, b'{"bundle": "\xff"}'),
        ],
    )
    def test_another_shape_is_malformed(
        self, parse: Callable[[bytes], State], text: bytes
    ) -> None:
        with pytest.raises(MalformedError):
            parse(text)

    @pytest.mark.parametrize("parse", [parse_runc, parse_crun])
    def test_a_deeply_nested_text_is_malformed(
        self, parse: Callable[[bytes], State]
    ) -> None:
        with pytest.raises(MalformedError):
            parse(b'{"x":' + b"[" * 10_000)

    @pytest.mark.parametrize("form", FORMS)
    @given(state=st.data())
    def test_any_file_gives_a_container_or_is_malformed(
        self, form: str, state: st.DataObject
    ) -> None:
        keys = {
            "runc": ["init_process_pid", "init_process_start", "config"],
            "crun": ["pid", "process-start-time", "bundle"],
        }[form]
        scalars = st.none() | st.integers() | st.floats() | st.text(NO_NULL)
        labels = st.lists(st.text(NO_NULL).map("bundle={}".format))
        configs = st.fixed_dictionaries({"labels": labels | scalars})
        found = st.dictionaries(st.sampled_from(keys), scalars | configs)
        text = state.draw(st.binary() | found.map(lambda v: json.dumps(v).encode()))
        with tempfile.TemporaryDirectory() as top:
            put_state(Path(top), form, "web", "").write_bytes(text)
            try:
                container = read(Path(top), form, "web")
            except (MalformedError, OSError):
                return
            decoded = msgspec.json.decode(msgspec.json.encode(container))
        assert msgspec.convert(decoded, Container) == container


NO_NULL = st.characters(exclude_characters="\0")
