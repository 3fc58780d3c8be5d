"""
Poll Docker for its containers: one list a poll, one inspect a container's life.

Engine API: https://docs.docker.com/reference/api/engine/. Paths have no version, so
that the engine responds in its own: an old engine lacks the new versions, a new one
has dropped the old. Of the SDK only the transport over unix sockets is used: its
client would read ~/.docker/config.json and keep the registry passwords in it.

The libraries are imported at their first use, since the collector loads this module
too.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from exporter.config.settings import RuntimeSettings
from exporter.runtimes import cgroup, oci
from exporter.runtimes.http import (
    SECONDS,
    SourceError,
    decode_json,
    fetch,
    prepare_get,
    stream_response,
)
from exporter.runtimes.records import Container, PollResult, dotted

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

_MAX_LIST = 32 << 20
_MAX_INSPECT = 8 << 20

_EVENTS = quote(
    json.dumps({"type": ["container"], "event": ["start", "die", "rename", "destroy"]})
)


class EventsError(Exception):
    """Docker's stream of events cannot be opened."""


class _Lenient(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The part of a response that is used. Go writes null for an empty map."""


class _Endpoint(_Lenient, frozen=True, kw_only=True):
    endpoint_id: str = msgspec.field(default="", name="EndpointID")


class _Networks(_Lenient, frozen=True, kw_only=True):
    networks: dict[str, _Endpoint | None] | None = None


class Listed(_Lenient, frozen=True, kw_only=True):
    """One container of GET /containers/json: what may change during its life."""

    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    names: list[str] | None = None
    labels: dict[str, str] | None = None
    network_settings: _Networks | None = None


class _State(_Lenient, frozen=True, kw_only=True):
    started_at: str = ""
    pid: int = 0


class _HostConfig(_Lenient, frozen=True, kw_only=True):
    network_mode: str = ""
    cgroup_parent: str = ""
    runtime: str = ""
    sysctls: dict[str, str] | None = None


class _NetworkSettings(_Lenient, frozen=True, kw_only=True):
    sandbox_key: str = ""


class Inspected(_Lenient, frozen=True, kw_only=True):
    """GET /containers/<id>/json: what stays the same from start to stop."""

    state: _State
    host_config: _HostConfig
    network_settings: _NetworkSettings


_Life = tuple[str, ...]


class Docker:
    """
    The containers that run on one engine, unix:///run/docker.sock or tcp://host:port.

    Not for several threads at once.
    """

    def __init__(self, base_url: str, *, timeout: float = SECONDS) -> None:
        self._base_url = check_address(base_url)
        self._timeout = timeout
        self._inspected: dict[_Life, Inspected] = {}

    def poll(self) -> PollResult:
        """Return the running containers. A caller's TimeoutError passes through."""
        try:
            with _adapter(self._base_url, self._timeout) as adapter:
                listed = parse_list(self._read(adapter, "/containers/json", _MAX_LIST))
                left_out = self._inspect(adapter, listed)
        except SourceError as failed:
            detail = f"{self._base_url}: {failed}"
            return PollResult(source="docker", error=failed.error, detail=detail)
        found = (
            parse_container(item, self._inspected[_life(item)])
            for item in listed
            if _life(item) in self._inspected
        )
        detail = _left_out(left_out, len(listed))
        return PollResult(source="docker", detail=detail, containers=tuple(found))

    def _inspect(self, adapter: "HTTPAdapter", listed: list[Listed]) -> list[str]:
        """Inspect new containers, forget those gone; return failures of single ones."""
        lives = dict.fromkeys(_life(item) for item in listed)
        self._inspected = {k: v for k, v in self._inspected.items() if k in lives}
        left_out = []
        for life in [it for it in lives if it not in self._inspected]:
            path = f"/containers/{life[0]}/json"
            try:
                body = self._read(adapter, path, _MAX_INSPECT)
                self._inspected[life] = parse_inspect(body)
            except SourceError as failed:
                if failed.error not in {"malformed", "too_large"}:
                    raise  # it concerns the engine, not this container
                left_out.append(f"{path}: {failed}")
        return left_out

    def _read(self, adapter: "HTTPAdapter", path: str, max_bytes: int) -> bytearray:
        request = prepare_get(_http(self._base_url) + path)
        return fetch(adapter, request, max_bytes=max_bytes, timeout=self._timeout)


def parse_list(body: bytes | bytearray) -> list[Listed]:
    """Return the containers of a list; SourceError if it is none."""
    return decode_json(body, list[Listed])


def parse_inspect(body: bytes | bytearray) -> Inspected:
    """Return the content of an inspect; SourceError if it is none."""
    return decode_json(body, Inspected)


def parse_container(listed: Listed, inspected: Inspected) -> Container:
    """Return the container that the two responses describe."""
    labels = listed.labels or {}
    name = own_name(listed.names or [])
    host = inspected.host_config
    pod = _pod(name, labels, host.cgroup_parent)
    sysctls = {dotted(key): value for key, value in (host.sysctls or {}).items()}
    return Container(
        runtime="docker",
        container_id=listed.id,
        evidence="docker_api",
        name=pod.container if pod else name,
        namespace=pod.namespace if pod else "",
        pod=pod.pod if pod else "",
        uid=pod.uid if pod else "",
        is_sandbox=bool(pod and pod.is_sandbox),
        network_of=_network_of(host.network_mode, labels, pod),
        sandbox=oci.detect_sandbox([host.runtime]),
        pid=inspected.state.pid,
        netns_path=inspected.network_settings.sandbox_key,
        project=labels.get("com.docker.compose.project", ""),
        service=labels.get("com.docker.compose.service", ""),
        sysctls=sysctls,
        requested_sysctls=sysctls,
        started=unix_seconds(inspected.state.started_at),
    )


def own_name(names: list[str]) -> str:
    """
    Return a container's own name; the others are those of links to it.

    >>> own_name(["/web/db", "/postgres"])
    'postgres'
    """
    own = (name[1:] for name in names if name.startswith("/") and name.count("/") == 1)
    return next(own, "")


_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


def unix_seconds(stamp: str) -> float:
    """
    Return an RFC 3339 time with nanoseconds as unix seconds, 0.0 for none.

    >>> unix_seconds("2026-11-22T15:38:22.28223907Z")
    1795361902.282239
    >>> unix_seconds("0001-01-01T00:00:00Z")  # Go's zero: it never started
    0.0
    """
    try:
        when: datetime = msgspec.convert(stamp, _Instant)
    except msgspec.ValidationError:
        return 0.0
    return max(when.timestamp(), 0.0)


class _Pod(NamedTuple):
    """The pod of a container, by the labels of cri-dockerd and dockershim."""

    namespace: str
    pod: str
    uid: str
    container: str
    is_sandbox: bool


_POD_LABELS = tuple(f"io.kubernetes.pod.{it}" for it in ("namespace", "name", "uid"))
_UID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}"
_POD_NAME = re.compile(rf"k8s_([^_]+)_([^_]+)_([^_]+)_({_UID})_[0-9]+")
_PAUSE = "POD"  # the name that both give to the container of a pod's sandbox
_ID = re.compile("[0-9a-f]{64}")


def _pod(name: str, labels: dict[str, str], cgroup_parent: str) -> _Pod | None:
    """Return the pod if the cgroup is that pod's; an image may have such labels too."""
    namespace, pod, uid = (labels.get(label, "") for label in _POD_LABELS)
    container = labels.get("io.kubernetes.container.name", "")
    if not (namespace or pod or uid) and (match := _POD_NAME.fullmatch(name)):
        container, pod, namespace, uid = match.groups()
    parent = cgroup.parse(f"0::/{cgroup_parent.lstrip('/')}")
    if not (namespace and pod and uid and uid == parent.pod_uid):
        return None
    kind = labels.get("io.kubernetes.docker.type")
    if kind == "podsandbox" or container == _PAUSE:
        return _Pod(namespace, pod, uid, "", is_sandbox=True)
    return _Pod(namespace, pod, uid, container, is_sandbox=False)


def _network_of(mode: str, labels: dict[str, str], pod: _Pod | None) -> str:
    """Return the ID it joined: from the engine, for a pod also from its label."""
    _, joined, target = mode.partition("container:")
    if not joined and pod and not pod.is_sandbox:
        target = labels.get("io.kubernetes.sandbox.id", "")
    return target if _ID.fullmatch(target) else ""


def _life(listed: Listed) -> _Life:
    """
    Return a key that changes when a container restarts, as its netns does.

    The list has no start time, but each start makes new endpoints: on a network,
    on `none` and on `host`. A container that joined another's network has none, but
    no netns of its own that could change either.
    """
    found = listed.network_settings or _Networks()
    endpoints = (end.endpoint_id for end in (found.networks or {}).values() if end)
    return (listed.id, *sorted(endpoints))


def _left_out(failures: list[str], count: int) -> str:
    if not failures:
        return ""
    return f"{len(failures)} of {count} containers left out: {failures[0]}"


def events(
    base_url: str, changed: Callable[[], None], *, timeout: float = SECONDS
) -> None:
    """
    Call *changed* at each event after which a poll may differ.

    Return when the stream ends; raise EventsError if it cannot be opened. An idle
    stream may last for days: *timeout* is for the connection only.
    """
    url = f"{_http(check_address(base_url))}/events?filters={_EVENTS}"
    with contextlib.ExitStack() as stack:
        try:
            adapter = stack.enter_context(_adapter(base_url, timeout))
            stream = stream_response(adapter, prepare_get(url), timeout=(timeout, None))
            chunks = stack.enter_context(stream)
        except SourceError as failed:
            raise EventsError(f"no events from {base_url}: {failed}") from failed
        with contextlib.suppress(SourceError):  # a stream that breaks has ended
            for _ in chunks:
                changed()


def open_docker(settings: RuntimeSettings) -> Docker:
    """Return the engine of *settings*; ValueError if its address is invalid."""
    return Docker(settings.docker)


def watch(settings: RuntimeSettings, changed: Callable[[], None]) -> None:
    """Call *changed* at each event, until the stream ends or cannot be opened."""
    with contextlib.suppress(EventsError):  # a poll reports the failure
        events(settings.docker, changed)


def check_address(base_url: str) -> str:
    """Return *base_url*; ValueError if no engine can have that address."""
    try:
        parts = urlsplit(base_url)
        tcp = parts.scheme == "tcp" and parts.hostname and parts.port
    except ValueError:  # a port that is no number, a bracket that never closes
        tcp = None
    if tcp and not (parts.path.strip("/") or parts.query or parts.username):
        return base_url.rstrip("/")
    if base_url.startswith("unix:///"):
        return base_url
    raise ValueError(
        f"{base_url!r} is not the address of a Docker Engine:"
        " write unix:///run/docker.sock or tcp://host:port"
    )


def _http(base_url: str) -> str:
    """Return the address for requests, which has another scheme for unix sockets."""
    if base_url.startswith("unix:"):
        return "http+docker://localhost"
    return base_url.replace("tcp:", "http:", 1)


@contextlib.contextmanager
def _adapter(base_url: str, timeout: float) -> Iterator["HTTPAdapter"]:
    """Yield requests' adapter for *base_url*, and close its connections at the end."""
    path = base_url.removeprefix("unix://")
    if path == base_url:
        adapter = _tcp_adapter()
    elif _exists(path):
        adapter = _unix_adapter(path, timeout)
    else:
        raise SourceError("absent", "no such socket")
    with contextlib.closing(adapter):
        yield adapter


def _tcp_adapter() -> "HTTPAdapter":
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    return HTTPAdapter()


def _unix_adapter(path: str, timeout: float) -> "HTTPAdapter":
    from docker.transport import UnixHTTPAdapter  # noqa: PLC0415

    # The type says int; a socket takes any number of seconds.
    return UnixHTTPAdapter(f"http+unix://{path}", timeout)  # type: ignore[arg-type]


def _exists(path: str) -> bool:
    """Return whether the socket exists, without the libraries: few nodes have it."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except PermissionError:  # connecting reports it
        return True
    return True
