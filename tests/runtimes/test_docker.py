"""What Docker says, and every way in which it may say nothing."""

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
    """A Docker Engine, as much of one as GET has to do with."""

    def __init__(self) -> None:
        self.listed: dict[str, dict[str, Any]] = {}
        self.inspected: dict[str, dict[str, Any]] = {}
        self.instead: dict[str, list[bytes]] = {}
        """By container: what is sent in its inspect's place."""

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
        """Start a container; again with another *life* for a restart."""
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


def only(answer: PollResult) -> Container:
    """Return the one container of a good answer that can go over the wire."""
    assert answer.error is None
    assert not answer.detail
    assert msgspec.json.decode(msgspec.json.encode(answer), type=PollResult) == answer
    (container,) = answer.containers
    return container


# What it says of containers


def test_a_container_as_docker_run_makes_it(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web")

    assert only(Docker(web.url).poll()) == Container(
        runtime="docker",
        container_id=A,
        evidence="docker_api",
        name="web",
        netns_path="/var/run/docker/netns/1",
        requested_sysctls={},
        started=1795361902.282239,
    )
    assert web.request_paths == ["/containers/json", f"/containers/{A}/json"]


def test_an_engine_on_tcp_answers_too(engine: Engine) -> None:
    engine.run(A, "web")
    with run_scripted_server(engine) as web:
        assert only(Docker(web.url).poll()).name == "web"


def test_no_containers_is_an_answer(web: ScriptedServer) -> None:
    assert Docker(web.url).poll() == PollResult(source="docker")


def test_sysctls_are_those_asked_for_in_either_spelling(
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
def test_the_runtime_tells_of_a_sandbox(
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


def test_the_engine_knows_better_than_a_label(
    engine: Engine, web: ScriptedServer
) -> None:
    labels = kubernetes("app", "container") | {"io.kubernetes.sandbox.id": B}
    engine.run(A, "x", labels=labels, mode=f"container:{C}")

    assert only(Docker(web.url).poll()).network_of == C


def test_a_sandbox_label_means_nothing_outside_a_pod(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "x", labels={"io.kubernetes.sandbox.id": B})

    assert only(Docker(web.url).poll()).network_of == ""


@pytest.mark.parametrize("parent", ["", OTHER_UID])
def test_a_pod_is_not_believed_in_another_cgroup(
    engine: Engine, web: ScriptedServer, parent: str
) -> None:
    """Whoever builds an image chooses its labels."""
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
def test_a_name_of_dockershim_tells_what_labels_do_not(
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
def test_a_name_of_nearly_that_shape_is_a_name(
    engine: Engine, web: ScriptedServer, name: str, labels: dict[str, str]
) -> None:
    engine.run(A, name, labels=labels)

    found = only(Docker(web.url).poll())

    assert (found.name, found.uid, found.is_sandbox) == (name, "", False)


# What it keeps from one ask to the next


def test_a_container_is_inspected_once(engine: Engine, web: ScriptedServer) -> None:
    engine.run(A, "web")
    docker = Docker(web.url)

    first, second = docker.poll(), docker.poll()

    assert first == second
    assert web.request_paths.count(f"/containers/{A}/json") == 1


def test_a_new_name_shows_without_an_inspect(
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


def test_a_restart_shows_in_the_endpoints(engine: Engine, web: ScriptedServer) -> None:
    engine.run(A, "web", life="1")
    docker = Docker(web.url)
    docker.poll()
    engine.run(A, "web", life="2")

    assert only(docker.poll()).netns_path == "/var/run/docker/netns/2"


def test_who_is_gone_is_forgotten(engine: Engine, web: ScriptedServer) -> None:
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
def test_one_bad_inspect_does_not_lose_the_others(
    engine: Engine, web: ScriptedServer, instead: list[bytes]
) -> None:
    for container_id, name in ((A, "one"), (B, "two"), (C, "three")):
        engine.run(container_id, name)
    engine.instead[B] = instead
    docker = Docker(web.url)

    answer = docker.poll()

    assert answer.error is None
    assert [container.name for container in answer.containers] == ["one", "three"]
    assert answer.detail.startswith(f"1 of 3 containers left out: /containers/{B}/json")
    engine.instead.clear()
    assert len(docker.poll().containers) == 3


def test_a_container_gone_before_its_inspect_is_left_out(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web")
    engine.run(B, "short")
    del engine.inspected[B]

    assert [it.name for it in Docker(web.url).poll().containers] == ["web"]


def test_an_engine_that_falls_silent_keeps_what_it_said_before(
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


def test_an_inspect_that_is_forbidden_is_the_engines_word(
    engine: Engine, web: ScriptedServer
) -> None:
    engine.run(A, "web")
    engine.instead[A] = list(ok_response(b"", "403 Forbidden"))

    assert Docker(web.url).poll().error == "refused"


# When there is no answer


def asked(script: Script, path: Path) -> tuple[PollResult, ScriptedServer]:
    with run_scripted_server(script, path) as web:
        answer = Docker(web.url, timeout=QUICK).poll()
    assert answer.containers == ()
    assert web.url in answer.detail
    return answer, web


def test_no_socket_is_no_docker_and_loads_no_library(tmp_path: Path) -> None:
    answer = Docker(f"unix://{tmp_path}/none/docker.sock").poll()

    assert answer.error == "absent"
    assert f"{tmp_path}/none/docker.sock" in answer.detail


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_socket_that_nobody_listens_on_is_silent(tmp_path: Path) -> None:
    with run_scripted_server(silent, tmp_path / "docker.sock") as web:
        pass

    answer = Docker(web.url).poll()
    gc.collect()  # docker.transport does not close a socket that nobody heard

    assert answer.error == "silent"
    assert "Connection refused" in answer.detail


def test_a_port_that_nobody_listens_on_is_silent() -> None:
    with run_scripted_server(silent) as web:
        pass

    answer = Docker(web.url).poll()

    assert answer.error == "silent"
    assert "Connection refused" in answer.detail


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
def test_a_socket_without_the_right_to_it_is_refused(closed: str) -> None:
    with (
        open_directory() as directory,
        run_scripted_server(silent, directory / "docker.sock") as web,
    ):
        directory.chmod(0o700 if closed == "directory" else 0o755)
        (directory / "docker.sock").chmod(0o600 if closed == "socket" else 0o666)
        Docker(f"unix://{directory}/docker.sock", timeout=QUICK).poll()  # imports
        with as_nobody():
            answer = Docker(web.url, timeout=QUICK).poll()
    gc.collect()

    assert answer.error == "refused"


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Make a directory that others may enter, as they may not pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_silence_ends_with_the_sockets_timeout(tmp_path: Path) -> None:
    begin = time.monotonic()

    answer, _ = asked(silent, tmp_path / "docker.sock")

    assert answer.error == "silent"
    assert "timed out" in answer.detail
    assert QUICK <= time.monotonic() - begin < 5


def test_a_connection_that_ends_at_once_is_silent(tmp_path: Path) -> None:
    assert asked(lambda *_: [], tmp_path / "docker.sock")[0].error == "silent"


def test_an_answer_cut_short_is_malformed(tmp_path: Path) -> None:
    cut = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]"]

    assert asked(lambda *_: cut, tmp_path / "docker.sock")[0].error == "malformed"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (endless, "too_large"),
        (endless_chunk, "too_large"),
        (endless_chunk_header, "malformed"),
        (endless_redirect, "malformed"),
    ],
)
def test_a_gigabyte_is_not_taken_in(tmp_path: Path, script: Script, error: str) -> None:
    answer, web = asked(script, tmp_path / "docker.sock")

    assert answer.error == error
    assert web.bytes_sent < (32 + 4) << 20


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_proxy_that_forbids_it_refuses(tmp_path: Path, status: str) -> None:
    answer, _ = asked(lambda *_: ok_response(b"", status), tmp_path / "docker.sock")

    assert answer.error == "refused"
    assert status[:3] in answer.detail


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "400 Bad Request", "404 Not Found"]
)
def test_a_status_that_is_no_answer_is_told(tmp_path: Path, status: str) -> None:
    answer, _ = asked(lambda *_: ok_response(b"[]", status), tmp_path / "docker.sock")

    assert answer.error == "malformed"
    assert f"HTTP {status[:3]}" in answer.detail


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
def test_a_body_that_is_no_list_of_containers_is_malformed(
    tmp_path: Path, body: bytes
) -> None:
    answer, _ = asked(lambda *_: ok_response(body), tmp_path / "docker.sock")

    assert answer.error == "malformed"
    msgspec.json.encode(answer)


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
def test_what_is_no_http_at_all_breaks_nothing(tmp_path: Path, raw: bytes) -> None:
    answer, _ = asked(lambda *_: [raw], tmp_path / "docker.sock")
    gc.collect()  # urllib3 does not close after a Content-Length of two minds

    assert answer.error in {"malformed", "silent", None}
    assert len(answer.detail) < 1000
    msgspec.json.encode(answer)


def test_a_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    def script(_path: str, _web: ScriptedServer) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        yield gzip.compress(b"[]")

    answer, web = asked(script, tmp_path / "docker.sock")

    assert answer.error == "malformed"
    assert "Accept-Encoding: identity" in web.request_heads[0]


# The caller's deadline


@pytest.mark.parametrize("error", [TimeoutError("deadline"), MemoryError()])
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize(
    "script", [silent, dribbling_head, dribbling_body, dribbling_chunks]
)
def test_the_callers_deadline_passes_through(
    tmp_path: Path, script: Script, error: Exception, *, tcp: bool
) -> None:
    with run_scripted_server(script, None if tcp else tmp_path / "docker.sock") as web:
        docker = Docker(web.url, timeout=30)
        begin = time.monotonic()
        with pytest.raises(type(error)) as raised, alarm(QUICK, error):
            docker.poll()

    assert raised.value is error
    assert time.monotonic() - begin < 5


def test_a_deadline_of_another_time_explains_nothing() -> None:
    with run_scripted_server(silent) as web:
        pass
    try:
        raise TimeoutError("an earlier deadline")  # noqa: TRY301
    except TimeoutError:
        answer = Docker(web.url).poll()

    assert answer.error == "silent"
    assert "Connection refused" in answer.detail


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


# Whom it asks


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
def test_an_address_of_another_kind_is_told_at_once(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"unix:///run/docker\.sock or tcp://host"):
        Docker(base_url)


def test_the_environment_has_no_say(
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


# Any answer at all


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
def test_any_text_of_an_owner_goes_over_the_wire(
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
        answers = parse_list(listed.encode())[0], parse_inspect(inspected.encode())
    except SourceError:
        return  # half a surrogate pair

    container = parse_container(*answers)

    assert msgspec.json.decode(msgspec.json.encode(container), type=Container)
    assert container.started >= 0


def test_any_bytes_on_the_wire_are_an_answer(tmp_path: Path) -> None:
    raw = [b""]
    with run_scripted_server(lambda *_: raw, tmp_path / "docker.sock") as web:
        docker = Docker(web.url)

        @given(
            st.binary()
            | st.binary().map(b"HTTP/1.1 ".__add__)
            | BODIES.map(b"HTTP/1.1 200 OK\r\n\r\n".__add__)
        )
        def ask(sent: bytes) -> None:
            raw[0] = sent
            msgspec.json.encode(docker.poll())

        ask()


@given(st.text() | st.datetimes().map(lambda at: f"{at.isoformat()}Z"))
def test_any_time_is_some_seconds(stamp: str) -> None:
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
def test_each_event_is_a_hint_and_the_end_an_end(
    tmp_path: Path, *, chunked: bool
) -> None:
    hints: list[float] = []
    events_of_three = streaming(b'{"status":', b'"start"}', b"\xff", chunked=chunked)
    with run_scripted_server(events_of_three, tmp_path / "docker.sock") as web:
        events(web.url, lambda: hints.append(time.monotonic()))

    assert len(hints) == 3
    assert hints[-1] - hints[0] > 0.05, "each as it came"
    assert web.request_paths[0].startswith("/events?filters=%7B%22type%22")


def test_a_stream_that_is_idle_for_long_goes_on(tmp_path: Path) -> None:
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


def test_events_wait_in_another_thread(tmp_path: Path) -> None:
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
def test_an_engine_without_events_is_told(tmp_path: Path, status: str) -> None:
    with (
        run_scripted_server(
            lambda *_: ok_response(b"", status), tmp_path / "docker.sock"
        ) as web,
        pytest.raises(EventsError, match=f"unix://{tmp_path}.*{status[:3]}"),
    ):
        events(web.url, pytest.fail)


def test_events_of_nobody_are_told(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="no such socket"):
        events(f"unix://{tmp_path}/docker.sock", pytest.fail)


def test_what_changed_does_is_its_own_affair(tmp_path: Path) -> None:
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
