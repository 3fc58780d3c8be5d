"""Polling the kubelet: its pods, authentication, and failures."""

import contextlib
import json
import os
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from exporter.privsep.privileges import NOBODY
from exporter.runtimes.http import SourceError
from exporter.runtimes.kubelet import Kubelet, parse_pods, parse_token
from exporter.runtimes.records import Pod, PollResult
from testing.lab import alarm
from tests.support.api_bodies import BODIES
from tests.support.httpserver import (
    Script,
    ScriptedServer,
    dribbling_body,
    dribbling_head,
    endless,
    endless_redirect,
    ok_response,
    run_scripted_server,
    silent,
)

QUICK = 0.2
UID = "0d137909-8596-495c-92b3-048a901457b2"
MIRROR = "7260904b-bd08-e72e-4dff-95d9fccd2ee8"
STATIC = "b53dfa9e2dc9b890f7fadb2770857b03"


def item(
    uid: str = UID,
    name: str = "web-0",
    namespace: str = "shop",
    annotations: dict[str, str] | None = None,
    **spec: object,
) -> dict[str, Any]:
    metadata: dict[str, object] = {"uid": uid, "name": name, "namespace": namespace}
    metadata["creationTimestamp"] = None
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": {"containers": []} | spec, "status": {}}


def pod_list(*items: dict[str, Any]) -> bytes:
    head = {"kind": "PodList", "apiVersion": "v1", "metadata": {}}
    return json.dumps(head | {"items": list(items)}).encode()


def respond_with(*items: dict[str, Any]) -> Script:
    return lambda *_: ok_response(pod_list(*items))


def http(web: ScriptedServer) -> str:
    return web.url.replace("tcp:", "http:")


def https(web: ScriptedServer) -> str:
    return web.url.replace("tcp:", "https:")


# Pods


def test_a_pod_without_sysctls() -> None:
    assert parse_pods(pod_list(item())) == (
        Pod(uid=UID, namespace="shop", name="web-0"),
    )


def test_the_sysctls_of_a_pod_in_either_spelling() -> None:
    sysctls = [
        {"name": "net.core.somaxconn", "value": "77"},
        {"name": "net/ipv4/conf/eth0.1/rp_filter", "value": "2"},
    ]

    (pod,) = parse_pods(pod_list(item(securityContext={"sysctls": sysctls})))

    assert pod.sysctls == {
        "net.core.somaxconn": "77",
        "net.ipv4.conf.eth0/1.rp_filter": "2",
    }


@pytest.mark.parametrize("context", [None, {}, {"sysctls": None}, {"sysctls": []}])
def test_a_pod_that_requests_none(context: object) -> None:
    (pod,) = parse_pods(pod_list(item(securityContext=context)))

    assert pod.sysctls == {}


def test_a_static_pod_has_the_hash_of_its_manifest() -> None:
    etcd = item(STATIC, "etcd-1", "kube-system", {"kubernetes.io/config.hash": STATIC})

    assert parse_pods(pod_list(etcd)) == (
        Pod(uid=STATIC, namespace="kube-system", name="etcd-1"),
    )


def test_a_mirror_pod_has_both_uids() -> None:
    etcd = item(
        MIRROR,
        "etcd-1",
        "kube-system",
        {"kubernetes.io/config.hash": STATIC},
        hostNetwork=True,
    )

    assert parse_pods(pod_list(etcd)) == tuple(
        Pod(uid=uid, namespace="kube-system", name="etcd-1") for uid in (MIRROR, STATIC)
    )


@pytest.mark.parametrize("first", [True, False])
def test_an_annotation_replaces_no_other_pods_uid(*, first: bool) -> None:
    etcd = item(STATIC, "etcd-1", "kube-system")
    liar = item(UID, "liar", "shop", {"kubernetes.io/config.hash": STATIC})

    pods = parse_pods(pod_list(*((liar, etcd) if first else (etcd, liar))))

    assert {pod.uid: pod.name for pod in pods} == {UID: "liar", STATIC: "etcd-1"}


@pytest.mark.parametrize("text", ["", UID, STATIC.upper(), f"{STATIC}\n", "../x"])
def test_a_hash_of_another_shape_is_none(text: str) -> None:
    pods = parse_pods(pod_list(item(annotations={"kubernetes.io/config.hash": text})))

    assert [pod.uid for pod in pods] == [UID]


@pytest.mark.parametrize("body", [b'{"items": null}', b'{"items": []}'])
def test_a_node_without_pods(body: bytes) -> None:
    assert parse_pods(body) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind": "Status", "status": "Failure"}',
        b'{"items": {}}',
        b'{"items": [{}]}',
        b'{"items": [{"metadata": {"uid": 1}}]}',
        pod_list(item(securityContext={"sysctls": {"net.core.somaxconn": "77"}})),
        pod_list(item())[:-1],
        pod_list(item(name="\ud800")),
        b'{"items": ' + b"[" * 100_000,
        b'{"x": ' + b"[" * 9999 + b"]" * 9999 + b"}",
        b"\xff",
    ],
)
def test_a_body_without_a_list_of_pods_is_malformed(body: bytes) -> None:
    with run_scripted_server(lambda *_: ok_response(body)) as web:
        result = Kubelet(http(web)).poll()

    assert result.error == "malformed"
    assert http(web) in result.detail
    msgspec.json.encode(result)


@given(BODIES)
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    with contextlib.suppress(SourceError):
        parse_pods(body)
    with contextlib.suppress(SourceError):
        parse_pods(b'{"items": [{"metadata": %s, "spec": {}}]}' % body)


# Requests


def test_the_read_only_port_gets_no_token(token: Path) -> None:
    with run_scripted_server(respond_with(item())) as web:
        result = Kubelet(f"{http(web)}/", str(token)).poll()

    assert result == PollResult(
        source="kubelet", pods=(Pod(uid=UID, namespace="shop", name="web-0"),)
    )
    assert web.request_paths == ["/pods"]
    assert "Authorization" not in web.request_heads[0], (
        "it would be readable on the wire"
    )


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("tls") / "kubelet.pem")


def certified(path: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1 and its key in one file."""
    key, crt = path.with_suffix(".key"), path.with_suffix(".crt")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    names = "-nodes -days 2 -subj /CN=kubelet -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), *names.split(), "-keyout", key, "-out", crt],
        check=True,
        capture_output=True,
    )
    path.write_text(key.read_text() + crt.read_text())
    return path


@contextlib.contextmanager
def tls_served(script: Script, certificate: Path) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with run_scripted_server(script, tls=context) as web:
        yield web


def test_the_token_is_read_at_each_poll(certificate: Path, token: Path) -> None:
    with tls_served(respond_with(item()), certificate) as web:
        kubelet = Kubelet(https(web), str(token), str(certificate))
        assert kubelet.poll().error is None
        token.write_text("second")
        assert kubelet.poll().pods[0].name == "web-0"

    assert "Authorization: Bearer first\r\n" in web.request_heads[0]
    assert "Authorization: Bearer second\r\n" in web.request_heads[1]


def test_without_a_token_file_there_is_no_token(certificate: Path) -> None:
    with tls_served(respond_with(item()), certificate) as web:
        assert Kubelet(https(web), ca_file=str(certificate)).poll().error is None

    assert "Authorization" not in web.request_heads[0]


@pytest.mark.parametrize("own", [True, False], ids=["another's", "the system's"])
def test_a_kubelet_with_an_untrusted_certificate_gets_no_token(
    certificate: Path, token: Path, tmp_path: Path, *, own: bool
) -> None:
    other = certified(tmp_path / "other.pem")
    with tls_served(respond_with(item()), certificate) as web:
        result = Kubelet(https(web), str(token), str(other) if own else "").poll()

    assert result.error == "refused"
    assert "ca_file" in result.detail
    assert str(other) in result.detail or not own
    assert web.request_heads == []


def test_insecure_accepts_any_certificate_without_a_warning(
    certificate: Path, token: Path
) -> None:
    with (
        tls_served(respond_with(item()), certificate) as web,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        result = Kubelet(https(web), str(token), insecure=True).poll()

    assert result.error is None
    assert "Bearer first" in web.request_heads[0]


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_an_authority_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    ca_file = tmp_path / "ca.crt"
    if content is not None:
        ca_file.write_text(content)
    with run_scripted_server(silent) as web:
        result = Kubelet(https(web), ca_file=str(ca_file), timeout=QUICK).poll()

    assert result.error == "refused"
    assert str(ca_file) in result.detail


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines", b"\xff", b"a b"])
def test_a_token_file_without_a_token_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    result = Kubelet("https://127.0.0.1:1", str(path)).poll()

    assert result.error == "refused"
    assert str(path) in result.detail


@pytest.mark.root
def test_a_token_file_without_permission_is_refused(token: Path) -> None:
    kubelet = Kubelet("https://127.0.0.1:1", str(token))
    kubelet.poll()  # imports what NOBODY may not be able to
    os.seteuid(NOBODY)
    try:
        result = kubelet.poll()
    finally:
        os.seteuid(0)

    assert result.error == "refused"
    assert f"{token}: Permission denied" in result.detail


def test_an_error_does_not_show_the_token() -> None:
    with pytest.raises(SourceError) as raised:
        parse_token(b"secret secret", "/token")

    assert "secret" not in str(raised.value)


def test_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with run_scripted_server(respond_with(item())) as web:
        assert Kubelet(http(web)).poll().error is None

    assert "Authorization" not in web.request_heads[0]


@pytest.mark.parametrize("url", ["", "127.0.0.1:10250", "ftp://node", "http://"])
def test_an_invalid_address_is_an_error_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="write https://127"):
        Kubelet(url)


@pytest.mark.parametrize("url", ["http://[::1", "http://node:99999"])
def test_an_address_that_cannot_exist_fails_the_poll(url: str) -> None:
    result = Kubelet(url).poll()

    assert result.error == "malformed"


# Failures


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_token_without_permission_is_refused(
    certificate: Path, token: Path, status: str
) -> None:
    with tls_served(lambda *_: ok_response(b"", status), certificate) as web:
        result = Kubelet(https(web), str(token), str(certificate)).poll()

    assert result.error == "refused"
    for named in (status[:3], str(token), str(certificate)):
        assert named in result.detail


def test_a_port_without_a_listener_is_silent() -> None:
    with run_scripted_server(silent) as web:
        pass

    result = Kubelet(http(web)).poll()

    assert result.error == "silent"
    assert "Connection refused" in result.detail


@pytest.mark.parametrize("scheme", [http, https])
def test_silence_ends_with_the_sockets_timeout(
    scheme: Any,  # noqa: ANN401
    certificate: Path,
) -> None:
    begin = time.monotonic()
    with run_scripted_server(silent) as web:  # which sends no greeting over TLS either
        result = Kubelet(scheme(web), "", str(certificate), timeout=QUICK).poll()

    assert result.error == "silent"
    assert QUICK <= time.monotonic() - begin < 5


@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "500 No"])
def test_another_status_is_in_the_detail(status: str) -> None:
    with run_scripted_server(lambda *_: ok_response(pod_list(), status)) as web:
        result = Kubelet(http(web)).poll()

    assert result.error == "malformed"
    assert f"HTTP {status[:3]}" in result.detail


@pytest.mark.parametrize(
    ("script", "error"), [(endless, "too_large"), (endless_redirect, "malformed")]
)
def test_a_response_is_bounded(script: Script, error: str) -> None:
    with run_scripted_server(script) as web:
        result = Kubelet(http(web)).poll()

    assert result.error == error
    assert web.bytes_sent < (64 + 16) << 20
    assert web.request_paths == ["/pods"], "a redirect is not followed"


@pytest.mark.parametrize("error", [TimeoutError("deadline"), MemoryError()])
@pytest.mark.parametrize("script", [silent, dribbling_head, dribbling_body])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_the_callers_timeout_passes_through(
    certificate: Path, script: Script, error: Exception, *, tls: bool
) -> None:
    with tls_served(script, certificate) if tls else run_scripted_server(script) as web:
        url = https(web) if tls else http(web)
        kubelet = Kubelet(url, "", str(certificate), timeout=30)
        begin = time.monotonic()
        with pytest.raises(type(error)) as raised, alarm(QUICK, error):
            kubelet.poll()

    assert raised.value is error
    assert time.monotonic() - begin < 5


def test_the_callers_timeout_passes_through_a_greeting(certificate: Path) -> None:
    with run_scripted_server(silent) as web:
        kubelet = Kubelet(https(web), "", str(certificate), timeout=30)
        with pytest.raises(TimeoutError), alarm(QUICK, TimeoutError("deadline")):
            kubelet.poll()


def test_the_callers_timeout_passes_through_a_token_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    kubelet = Kubelet("https://127.0.0.1:1", str(tmp_path / "token"))
    with pytest.raises(TimeoutError), alarm(QUICK, TimeoutError("deadline")):
        kubelet.poll()


@pytest.mark.usefixtures("no_leaked_files")
def test_nothing_stays_open(certificate: Path) -> None:
    def respond(path: str, web: ScriptedServer) -> Iterable[bytes]:
        return (
            ok_response(pod_list())
            if len(web.request_heads) == 1
            else silent(path, web)
        )

    with tls_served(respond, certificate) as web:
        kubelet = Kubelet(https(web), "", str(certificate), timeout=QUICK)
        assert [kubelet.poll().error, kubelet.poll().error] == [None, "silent"]
