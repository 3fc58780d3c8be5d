"""Polling Docker: containers, and every way in which a poll may fail."""

import contextlib
import gc
import gzip
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.privsep.privileges import NOBODY
from exporter.runtimes.docker import (
    Docker,
    EventsError,
    events,
    own_name,
    parse_container,
    parse_inspect,
    parse_list,
    unix_seconds,
)
from exporter.runtimes.http import SourceError
from exporter.runtimes.records import Container, PollResult
from testing.lab import alarm, wait_until
from tests.support.api_bodies import BODIES, KEYS, TEXT
from tests.support.httpserver import (
    Script,
    ScriptedServer,
    dribbling_body,
    dribbling_chunks,
    dribbling_head,
    endless,
    endless_chunk,
    endless_chunk_header,
    endless_redirect,
    ok_response,
    run_scripted_server,
    silent,
)

A, B, C = "a" * 64, "b" * 64, "c" * 64
UID = "0d137909-8596-495c-92b3-048a901457b2"
OTHER_UID = "7260904b-bd08-e72e-4dff-95d9fccd2ee8"
STATIC = "b53dfa9e2dc9b890f7fadb2770857b03"
QUICK = 0.2


class Engine:
    """The part of a Docker Engine that GET requests need."""

    def __init__(self) -> None:
        self.listed: dict[str, dict[str, Any]] = {}
        self.inspected: dict[str, dict[str, Any]] = {}
        self.instead: dict[str, list[bytes]] = {}
        """By container: what is sent instead of its inspect."""

    def run(
        self,
        container_id: str,
        *names: str,
        labels: dict[str, str] | None = None,
        mode: str = "bridge",
        sysctls: dict[str, str] | None = None,
        runtime: str = "runc",
        life: str = "1",
        parent: str = "",
    ) -> None:
        """Start a container; with another *life* restart it."""
        shares = mode.startswith("container:")
        networks = {} if shares else {mode: {"EndpointID": life, "Gateway": ""}}
        self.listed[container_id] = {
            "Id": container_id,
            "Names": [f"/{name}" for name in names],
            "Labels": labels,
            "Status": "Up 2 minutes",
            "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": networks},
        }
        uid = (labels or {}).get("io.kubernetes.pod.uid") or parent
        below = f"/kubepods/besteffort/pod{uid}" if uid else ""
        host: dict[str, Any] = {
            "CgroupParent": below,
            "NetworkMode": mode,
            "Runtime": runtime,
            "ShmSize": 67108864,
        }
        self.inspected[container_id] = {
            "Id": container_id,
            "State": {"StartedAt": "2026-11-22T15:38:22.28223907Z", "Pid": 817},
            "HostConfig": host | ({"Sysctls": sysctls} if sysctls else {}),
            "NetworkSettings": {
                "SandboxKey": "" if shares else f"/var/run/docker/netns/{life}"
            },
        }

    def __call__(self, path: str, _web: ScriptedServer) -> Iterable[bytes]:
        if path == "/containers/json":
            return ok_response(json.dumps(list(self.listed.values())).encode())
        container_id = path.split("/")[2]
        if container_id in self.instead:
            return self.instead[container_id]
        if container_id not in self.inspected:
            return ok_response(b'{"message": "No such container"}', "404 Not Found")
        return ok_response(json.dumps(self.inspected[container_id]).encode())


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def web(engine: Engine, tmp_path: Path) -> Iterator[ScriptedServer]:
    with run_scripted_server(engine, tmp_path / "docker.sock") as web:
        yield web


def only(result: PollResult) -> Container:
    """Return the only container of a result that can be encoded."""
    assert result.error is None
    assert not result.detail
    assert msgspec.json.decode(msgspec.json.encode(result), type=PollResult) == result
    (container,) = result.containers
    return container


# Containers


def test_a_container_of_docker_run(engine: Engine, web: ScriptedServer) -> None:
    engine.run(A, "web")

    assert only(Docker(web.url).poll()) == Container(
        runtime="docker",
        container_id=A,
        evidence="docker_api",
        name="web",
        pid=817,
        netns_path="/var/run/docker/netns/1",
        requested_sysctls={},
        started=1795361902.282239,
    )
    assert web.request_paths == ["/containers/json", f"/containers/{A}/json"]


def test_an_engine_on_tcp_is_polled_too(engine: Engine) -> None:
    engine.run(A, "web")
    with run_scripted_server(engine) as web:
        assert only(Docker(web.url).poll()).name == "web"


def test_an_empty_list_is_a_result(web: ScriptedServer) -> None:
    assert Docker(web.url).poll() == PollResult(source="docker")


def test_sysctls_are_the_requested_ones_in_either_spelling(
    engine: Engine, web: ScriptedServer
) -> None:
    sysctls = {"net.core.somaxconn": "77", "net/ipv4/conf/eth0.1/rp_filter": "2"}
    engine.run(A, "web", sysctls=sysctls)

    container = only(Docker(web.url).poll())

    assert container.sysctls == {
        "net.core.somaxconn": "77",
        "net.ipv4.conf.eth0/1.rp_filter": "2",
    }
    assert container.requested_sysctls == container.sysctls


def test_a_compose_service(engine: Engine, web: ScriptedServer) -> None:
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "cart",
    }
    engine.run(A, "shop-cart-1", labels=labels)

    container = only(Docker(web.url).poll())

    assert (container.project, container.service) == ("shop", "cart")
    assert container.name == "shop-cart-1"


def test_a_container_on_anothers_network(engine: Engine, web: ScriptedServer) -> None:
    engine.run(A, "side", mode=f"container:{B}")

    container = only(Docker(web.url).poll())

    assert container.network_of == B
    assert container.netns_path == ""


def test_a_network_joined_by_name_is_not_an_id(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "side", mode="container:web")  # so until it is first started

    assert only(Docker(web.url).poll()).network_of == ""


@pytest.mark.parametrize(
    ("runtime", "sandbox"),
    [
        ("runc", ""),
        ("", ""),
        ("nvidia", ""),
        ("runsc", "gvisor"),
        ("io.containerd.runsc.v1", "gvisor"),
        ("kata-runtime", "kata"),
        ("io.containerd.kata.v2", "kata"),
    ],
)
def test_the_runtime_shows_a_sandbox(
    engine: Engine, web: ScriptedServer, runtime: str, sandbox: str
) -> None:
    engine.run(A, "web", runtime=runtime)

    assert only(Docker(web.url).poll()).sandbox == sandbox


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ([], ""),
        (["/web"], "web"),
        (["/front/db", "/postgres", "/back/db"], "postgres"),
        (["/front/db"], ""),
        (["web"], ""),
    ],
)
def test_a_links_name_is_not_its_own(names: list[str], name: str) -> None:
    assert own_name(names) == name


def kubernetes(container: str, kind: str, **more: str) -> dict[str, str]:
    return {
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": UID,
        "io.kubernetes.container.name": container,
        "io.kubernetes.docker.type": kind,
    } | {f"io.kubernetes.{key}": value for key, value in more.items()}


def test_a_pods_sandbox_of_cri_dockerd(engine: Engine, web: ScriptedServer) -> None:
    engine.run(
        A,
        f"k8s_POD_web-0_shop_{UID}_0",
        labels=kubernetes("POD", "podsandbox"),
        mode="none",
        sysctls={"net.core.somaxconn": "77"},
    )

    container = only(Docker(web.url).poll())

    assert container.is_sandbox
    assert container.name == container.network_of == ""
    assert (container.namespace, container.pod, container.uid) == ("shop", "web-0", UID)
    assert container.requested_sysctls == {"net.core.somaxconn": "77"}


@pytest.mark.parametrize("mode", [f"container:{B}", ""])
def test_a_pods_container_of_cri_dockerd(
    engine: Engine, web: ScriptedServer, mode: str
) -> None:
    labels = kubernetes("app", "container") | {"io.kubernetes.sandbox.id": B}
    engine.run(A, f"k8s_app_web-0_shop_{UID}_3", labels=labels, mode=mode)

    container = only(Docker(web.url).poll())

    assert not container.is_sandbox
    assert (container.name, container.network_of) == ("app", B)
    assert (container.namespace, container.pod, container.uid) == ("shop", "web-0", UID)


def test_the_engine_takes_precedence_over_a_label(
    engine: Engine, web: ScriptedServer
) -> None:
    labels = kubernetes("app", "container") | {"io.kubernetes.sandbox.id": B}
    engine.run(A, "x", labels=labels, mode=f"container:{C}")

    assert only(Docker(web.url).poll()).network_of == C


def test_a_sandbox_label_is_ignored_outside_a_pod(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "x", labels={"io.kubernetes.sandbox.id": B})

    assert only(Docker(web.url).poll()).network_of == ""


@pytest.mark.parametrize("parent", ["", OTHER_UID])
def test_a_pod_is_not_accepted_in_another_cgroup(
    engine: Engine, web: ScriptedServer, parent: str
) -> None:
    """The author of an image chooses its labels."""
    engine.run(A, "harmless", labels=kubernetes("POD", "podsandbox"))
    host = engine.inspected[A]["HostConfig"]
    host["CgroupParent"] = f"/kubepods/pod{parent}" if parent else ""

    found = only(Docker(web.url).poll())

    assert (found.namespace, found.pod, found.uid) == ("", "", "")
    assert (found.name, found.is_sandbox) == ("harmless", False)


@pytest.mark.parametrize("uid", [UID, STATIC])
@pytest.mark.parametrize(
    ("container", "name", "is_sandbox"), [("POD", "", True), ("app", "app", False)]
)
def test_a_name_of_dockershim_has_what_labels_lack(
    engine: Engine,
    web: ScriptedServer,
    uid: str,
    container: str,
    name: str,
    *,
    is_sandbox: bool,
) -> None:
    engine.run(A, f"k8s_{container}_web-0_shop_{uid}_0", parent=uid)

    found = only(Docker(web.url).poll())

    assert (found.namespace, found.pod, found.uid) == ("shop", "web-0", uid)
    assert (found.name, found.is_sandbox) == (name, is_sandbox)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("k8s_POD_web-0_shop_0d137909_0", {}),
        (f"k8s_POD_web-0_shop_{UID}", {}),
        (f"k8s_POD_web-0_shop_{UID}_0_1", {}),
        (f"my_k8s_POD_web-0_shop_{UID}_0", {}),
        (f"k8s_POD_web-0_shop_{UID}_0", {"io.kubernetes.pod.name": "web-0"}),
    ],
)
def test_a_name_of_a_similar_shape_is_a_name(
    engine: Engine, web: ScriptedServer, name: str, labels: dict[str, str]
) -> None:
    engine.run(A, name, labels=labels)

    found = only(Docker(web.url).poll())

    assert (found.name, found.uid, found.is_sandbox) == (name, "", False)


# What is kept from one poll to the next


def test_a_container_is_inspected_once(engine: Engine, web: ScriptedServer) -> None:
    engine.run(A, "web")
    docker = Docker(web.url)

    first, second = docker.poll(), docker.poll()

    assert first == second
    assert web.request_paths.count(f"/containers/{A}/json") == 1


def test_a_new_name_takes_effect_without_an_inspect(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web", sysctls={"net.core.somaxconn": "77"})
    docker = Docker(web.url)
    docker.poll()
    engine.listed[A]["Names"] = ["/shop"]

    container = only(docker.poll())

    assert container.name == "shop"
    assert container.sysctls == {"net.core.somaxconn": "77"}
    assert web.request_paths.count(f"/containers/{A}/json") == 1


def test_a_restart_is_seen_by_the_endpoints(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web", life="1")
    docker = Docker(web.url)
    docker.poll()
    engine.run(A, "web", life="2")

    assert only(docker.poll()).netns_path == "/var/run/docker/netns/2"


def test_a_removed_container_is_forgotten(engine: Engine, web: ScriptedServer) -> None:
    engine.run(A, "web")
    docker = Docker(web.url)
    docker.poll()
    stopped = engine.listed.pop(A)
    docker.poll()
    engine.listed[A] = stopped

    docker.poll()

    assert web.request_paths.count(f"/containers/{A}/json") == 2


@pytest.mark.parametrize(
    "instead",
    [
        list(ok_response(b"{}", "404 Not Found")),
        list(ok_response(b"{}", "409 Conflict")),
        list(ok_response(b"{}", "500 Internal Server Error")),
        list(ok_response(b"")),
        list(ok_response(b"{}")),
        list(ok_response(b'{"State": 1}')),
        list(ok_response(b" " * (2 << 20))),
    ],
    ids=["404", "409", "500", "empty", "no fields", "wrong shape", "too large"],
)
def test_a_failed_inspect_does_not_affect_other_containers(
    engine: Engine, web: ScriptedServer, instead: list[bytes]
) -> None:
    for container_id, name in ((A, "one"), (B, "two"), (C, "three")):
        engine.run(container_id, name)
    engine.instead[B] = instead
    docker = Docker(web.url)

    result = docker.poll()

    assert result.error is None
    assert [container.name for container in result.containers] == ["one", "three"]
    assert result.detail.startswith(f"1 of 3 containers left out: /containers/{B}/json")
    engine.instead.clear()
    assert len(docker.poll().containers) == 3


def test_a_container_gone_before_its_inspect_is_left_out(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web")
    engine.run(B, "short")
    del engine.inspected[B]

    assert [it.name for it in Docker(web.url).poll().containers] == ["web"]


def test_an_engine_that_falls_silent_keeps_its_inspects(
    engine: Engine, tmp_path: Path
) -> None:
    engine.run(A, "one")
    engine.run(B, "two")

    def falls_silent(path: str, web: ScriptedServer) -> Iterable[bytes]:
        return silent(path, web) if B in path else engine(path, web)

    with run_scripted_server(falls_silent, tmp_path / "docker.sock") as web:
        docker = Docker(web.url, timeout=QUICK)
        assert docker.poll().error == "silent"
        web.script = engine

        assert len(docker.poll().containers) == 2
        assert web.request_paths.count(f"/containers/{A}/json") == 1


def test_a_forbidden_inspect_concerns_the_engine(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web")
    engine.instead[A] = list(ok_response(b"", "403 Forbidden"))

    assert Docker(web.url).poll().error == "refused"


# Failures


def fail_to_poll(script: Script, path: Path) -> tuple[PollResult, ScriptedServer]:
    with run_scripted_server(script, path) as web:
        result = Docker(web.url, timeout=QUICK).poll()
    assert result.containers == ()
    assert web.url in result.detail
    return result, web


def test_without_a_socket_docker_is_absent(tmp_path: Path) -> None:
    result = Docker(f"unix://{tmp_path}/none/docker.sock").poll()

    assert result.error == "absent"
    assert f"{tmp_path}/none/docker.sock" in result.detail


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_socket_without_a_listener_is_silent(tmp_path: Path) -> None:
    with run_scripted_server(silent, tmp_path / "docker.sock") as web:
        pass

    result = Docker(web.url).poll()
    gc.collect()  # docker.transport does not close a socket that failed to connect

    assert result.error == "silent"
    assert "Connection refused" in result.detail


def test_a_port_without_a_listener_is_silent() -> None:
    with run_scripted_server(silent) as web:
        pass

    result = Docker(web.url).poll()

    assert result.error == "silent"
    assert "Connection refused" in result.detail


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.root
@pytest.mark.parametrize("closed", ["directory", "socket"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_socket_without_permission_is_refused(closed: str) -> None:
    with (
        open_directory() as directory,
        run_scripted_server(silent, directory / "docker.sock") as web,
    ):
        directory.chmod(0o700 if closed == "directory" else 0o755)
        (directory / "docker.sock").chmod(0o600 if closed == "socket" else 0o666)
        Docker(f"unix://{directory}/docker.sock", timeout=QUICK).poll()  # imports
        with as_nobody():
            result = Docker(web.url, timeout=QUICK).poll()
    gc.collect()

    assert result.error == "refused"


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Make a directory that others may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_silence_ends_with_the_sockets_timeout(tmp_path: Path) -> None:
    begin = time.monotonic()

    result, _ = fail_to_poll(silent, tmp_path / "docker.sock")

    assert result.error == "silent"
    assert "timed out" in result.detail
    assert QUICK <= time.monotonic() - begin < 5


def test_a_connection_that_ends_at_once_is_silent(tmp_path: Path) -> None:
    assert fail_to_poll(lambda *_: [], tmp_path / "docker.sock")[0].error == "silent"


def test_a_truncated_response_is_malformed(tmp_path: Path) -> None:
    cut = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]"]

    assert (
        fail_to_poll(lambda *_: cut, tmp_path / "docker.sock")[0].error == "malformed"
    )


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (endless, "too_large"),
        (endless_chunk, "too_large"),
        (endless_chunk_header, "malformed"),
        (endless_redirect, "malformed"),
    ],
)
def test_a_response_is_bounded(tmp_path: Path, script: Script, error: str) -> None:
    result, web = fail_to_poll(script, tmp_path / "docker.sock")

    assert result.error == error
    assert web.bytes_sent < (32 + 4) << 20


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_proxy_that_forbids_the_request_is_refused(
    tmp_path: Path, status: str
) -> None:
    result, _ = fail_to_poll(
        lambda *_: ok_response(b"", status), tmp_path / "docker.sock"
    )

    assert result.error == "refused"
    assert status[:3] in result.detail


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "400 Bad Request", "404 Not Found"]
)
def test_another_status_is_in_the_detail(tmp_path: Path, status: str) -> None:
    result, _ = fail_to_poll(
        lambda *_: ok_response(b"[]", status), tmp_path / "docker.sock"
    )

    assert result.error == "malformed"
    assert f"HTTP {status[:3]}" in result.detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"Id": "../secrets"}]',
        b'[{"Id": "%s\\n"}]' % A.encode(),
        b'[{"Id": "%s", "Names": "web"}]' % A.encode(),
        b'[{"Id": "%s", "Names": ["/\\ud800"]}]' % A.encode(),
        b'[{"Id": "%s", "Names": ["/\xff"]}]' % A.encode(),
        b"[" * 100_000,
        b'[{"Id": "%s", "X": %s}]' % (A.encode(), b"[" * 9999 + b"]" * 9999),
    ],
)
def test_a_body_without_a_list_of_containers_is_malformed(
    tmp_path: Path, body: bytes
) -> None:
    result, _ = fail_to_poll(lambda *_: ok_response(body), tmp_path / "docker.sock")

    assert result.error == "malformed"
    msgspec.json.encode(result)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 9,
        b"HTTP/1.1 twohundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1,2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 " + b"O" * 99_999,
        b"\x16\x03\x01\x02",
    ],
)
def test_a_response_that_is_not_http_is_malformed_or_silent(
    tmp_path: Path, raw: bytes
) -> None:
    result, _ = fail_to_poll(lambda *_: [raw], tmp_path / "docker.sock")
    gc.collect()  # urllib3 does not close after a Content-Length of two minds

    assert result.error in {"malformed", "silent", None}
    assert len(result.detail) < 1000
    msgspec.json.encode(result)


def test_a_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    def script(_path: str, _web: ScriptedServer) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        yield gzip.compress(b"[]")

    result, web = fail_to_poll(script, tmp_path / "docker.sock")

    assert result.error == "malformed"
    assert "Accept-Encoding: identity" in web.request_heads[0]


# The caller's timeout


@pytest.mark.parametrize("error", [TimeoutError("deadline"), MemoryError()])
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize(
    "script", [silent, dribbling_head, dribbling_body, dribbling_chunks]
)
def test_the_callers_timeout_passes_through(
    tmp_path: Path, script: Script, error: Exception, *, tcp: bool
) -> None:
    with run_scripted_server(script, None if tcp else tmp_path / "docker.sock") as web:
        docker = Docker(web.url, timeout=30)
        begin = time.monotonic()
        with pytest.raises(type(error)) as raised, alarm(QUICK, error):
            docker.poll()

    assert raised.value is error
    assert time.monotonic() - begin < 5


def test_an_earlier_timeout_is_not_the_cause() -> None:
    with run_scripted_server(silent) as web:
        pass
    try:
        raise TimeoutError("an earlier timeout")  # noqa: TRY301
    except TimeoutError:
        result = Docker(web.url).poll()

    assert result.error == "silent"
    assert "Connection refused" in result.detail


@pytest.mark.usefixtures("no_leaked_files")
def test_nothing_stays_open(tmp_path: Path) -> None:
    engine = Engine()
    engine.run(A, "web")
    with run_scripted_server(engine, tmp_path / "docker.sock") as web:
        docker = Docker(web.url, timeout=QUICK)
        docker.poll()
        for script in (endless, silent, endless_redirect):
            web.script = script
            docker.poll()
        web.script = dribbling_body
        with pytest.raises(TimeoutError), alarm(QUICK, TimeoutError()):
            Docker(web.url, timeout=30).poll()
    gc.collect()  # what the alarm cut short may be held by its own traceback


# Addresses


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "docker.sock",
        "/run/docker.sock",
        "unix://docker.sock",
        "tcp://127.0.0.1",
        "tcp://:2375",
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:99999",
        "tcp://[::1:2375",
        "tcp://user@127.0.0.1:2375",
        "tcp://127.0.0.1:2375/v1.41",
        "ssh://node",
        "http://127.0.0.1:2375",
    ],
)
def test_an_invalid_address_is_an_error_at_once(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"unix:///run/docker\.sock or tcp://host"):
        Docker(base_url)


def test_the_environment_is_ignored(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"registry": "nonsense"}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    engine.run(A, "web")
    with run_scripted_server(engine) as web:
        assert only(Docker(web.url).poll()).name == "web"


# Arbitrary responses


@given(BODIES)
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    for parse in (parse_list, parse_inspect):
        with contextlib.suppress(SourceError):
            parse(body)


TEXTS = st.dictionaries(KEYS | st.text(), TEXT)


@given(
    st.lists(st.text() | st.just(f"/k8s_POD_web-0_shop_{UID}_0")),
    TEXTS,
    TEXTS,
    TEXT,
    TEXT,
)
def test_a_container_with_any_text_can_be_encoded(
    names: list[str],
    labels: dict[str, str],
    sysctls: dict[str, str],
    mode: str,
    at: str,
) -> None:
    listed = json.dumps([{"Id": A, "Names": names, "Labels": labels}])
    inspected = json.dumps(
        {
            "State": {"StartedAt": at},
            "HostConfig": {"NetworkMode": mode, "Runtime": mode, "Sysctls": sysctls},
            "NetworkSettings": {"SandboxKey": mode},
        }
    )
    try:
        responses = parse_list(listed.encode())[0], parse_inspect(inspected.encode())
    except SourceError:
        return  # half a surrogate pair

    container = parse_container(*responses)

    assert msgspec.json.decode(msgspec.json.encode(container), type=Container)
    assert container.started >= 0


def test_any_bytes_give_a_result(tmp_path: Path) -> None:
    raw = [b""]
    with run_scripted_server(lambda *_: raw, tmp_path / "docker.sock") as web:
        docker = Docker(web.url)

        @given(
            st.binary()
            | st.binary().map(b"HTTP/1.1 ".__add__)
            | BODIES.map(b"HTTP/1.1 200 OK\r\n\r\n".__add__)
        )
        def poll(sent: bytes) -> None:
            raw[0] = sent
            msgspec.json.encode(docker.poll())

        poll()


@given(st.text() | st.datetimes().map(lambda at: f"{at.isoformat()}Z"))
def test_any_time_gives_seconds(stamp: str) -> None:
    assert unix_seconds(stamp) >= 0


# Events


def streaming(*pieces: bytes, chunked: bool = True) -> Script:
    def script(_path: str, _web: ScriptedServer) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        yield b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"
        for piece in pieces:
            yield b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
            time.sleep(0.05)
        yield b"0\r\n\r\n" if chunked else b""

    return script


@pytest.mark.parametrize("chunked", [True, False])
def test_each_event_calls_back_and_the_end_returns(
    tmp_path: Path, *, chunked: bool
) -> None:
    hints: list[float] = []
    events_of_three = streaming(b'{"status":', b'"start"}', b"\xff", chunked=chunked)
    with run_scripted_server(events_of_three, tmp_path / "docker.sock") as web:
        events(web.url, lambda: hints.append(time.monotonic()))

    assert len(hints) == 3
    assert hints[-1] - hints[0] > 0.05, "each as it came"
    assert web.request_paths[0].startswith("/events?filters=%7B%22type%22")


def test_an_idle_stream_stays_open(tmp_path: Path) -> None:
    hints = threading.Semaphore(0)

    def late(_path: str, _web: ScriptedServer) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        time.sleep(QUICK * 3)
        yield b"event"

    with run_scripted_server(late, tmp_path / "docker.sock") as web:
        events(web.url, hints.release, timeout=QUICK)

    assert hints.acquire(blocking=False)


def test_an_engine_that_dies_ends_the_stream(tmp_path: Path) -> None:
    cut = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"]
    hints = threading.Semaphore(0)
    with run_scripted_server(lambda *_: cut, tmp_path / "docker.sock") as web:
        events(web.url, hints.release)

    assert hints.acquire(blocking=False)


def test_events_are_awaited_in_another_thread(tmp_path: Path) -> None:
    def idle(_path: str, web: ScriptedServer) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        web.stopping.wait(60)

    with run_scripted_server(idle, tmp_path / "docker.sock") as web:
        thread = threading.Thread(target=events, args=(web.url, lambda: None))
        thread.start()
        wait_until(lambda: web.bytes_sent)
        assert thread.is_alive()
    wait_until(lambda: not thread.is_alive())


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Internal Server Error"])
def test_an_engine_without_events_is_an_error(tmp_path: Path, status: str) -> None:
    with (
        run_scripted_server(
            lambda *_: ok_response(b"", status), tmp_path / "docker.sock"
        ) as web,
        pytest.raises(EventsError, match=f"unix://{tmp_path}.*{status[:3]}"),
    ):
        events(web.url, pytest.fail)


def test_events_of_an_absent_engine_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="no such socket"):
        events(f"unix://{tmp_path}/docker.sock", pytest.fail)


def test_an_error_of_the_callback_passes_through(tmp_path: Path) -> None:
    def changed() -> None:
        raise OSError("mine")

    with (
        run_scripted_server(streaming(b"x"), tmp_path / "docker.sock") as web,
        pytest.raises(OSError, match="mine"),
    ):
        events(web.url, changed)


def test_the_module_alone_loads_no_library() -> None:
    script = (
        "import sys, exporter.runtimes.docker as d\n"
        "assert d.Docker('unix:///nonexistent/docker.sock').poll().error == 'absent'\n"
        "sys.exit(bool({'docker', 'requests', 'urllib3'} & set(sys.modules)))"
    )

    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", script) == 0
