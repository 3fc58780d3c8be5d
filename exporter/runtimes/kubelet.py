"""
Poll the kubelet for its pods: GET /pods, on its port 10250 or read-only 10255.

It is the only source of the sysctls that a pod spec requests, and of pods whose
sandbox is not up yet. The API server's authorization applies: nodes/proxy, or
nodes/pods with KubeletFineGrainedAuthz.
"""

import contextlib
import os
import re

import msgspec

from exporter.config.settings import RuntimeSettings
from exporter.runtimes.http import (
    SECONDS,
    SourceError,
    decode_json,
    fetch,
    prepare_get,
)
from exporter.runtimes.records import Pod, PollResult, dotted

_MAX_BYTES = 64 << 20
_MAX_TOKEN_BYTES = 1 << 16
_TOKEN = re.compile(rb"[!-~]+")
_HASH = re.compile("[0-9a-f]{32}")


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    uid: str
    name: str
    namespace: str
    annotations: dict[str, str] | None = None


class _Sysctl(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    value: str


class _SecurityContext(msgspec.Struct, frozen=True, kw_only=True):
    sysctls: list[_Sysctl] | None = None


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    security_context: _SecurityContext | None = None


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Metadata
    spec: _Spec


class _PodList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[_Item] | None  # null for none


class Kubelet:
    """
    One kubelet, at https://127.0.0.1:10250 or http://127.0.0.1:10255.

    Args:
        url: its address; ValueError unless its scheme is http or https.
        token_file: a service account's token, read at each poll since it rotates,
            and sent over https only; "" for none.
        ca_file: authority of the kubelet's certificate, "" for the system's.
        insecure: whether to accept any certificate.
        timeout: of the socket, in seconds.
    """

    def __init__(
        self,
        url: str,
        token_file: str = "",
        ca_file: str = "",
        *,
        insecure: bool = False,
        timeout: float = SECONDS,
    ) -> None:
        self._url = url.rstrip("/")
        self._https = self._url.startswith("https://")
        if not (self._https or self._url.startswith("http://")):
            raise ValueError(
                f"{url!r} is not the address of a kubelet: write"
                " https://127.0.0.1:10250"
            )
        self._token_file = token_file
        self._ca_file = ca_file
        self._insecure = insecure
        self._timeout = timeout

    def poll(self) -> PollResult:
        """Return the node's pods. A caller's TimeoutError passes through."""
        try:
            return PollResult(source="kubelet", pods=parse_pods(self._read()))
        except SourceError as failed:
            detail = f"{self._url}: {failed}"
            if failed.error == "refused":
                detail += (
                    f" (token_file {self._token_file!r}, ca_file {self._ca_file!r})"
                )
            return PollResult(source="kubelet", error=failed.error, detail=detail)

    def _read(self) -> bytearray:
        from requests.adapters import HTTPAdapter  # noqa: PLC0415

        headers = {}
        if self._https and self._token_file:
            token = parse_token(_read_token(self._token_file), self._token_file)
            headers["Authorization"] = f"Bearer {token}"
        request = prepare_get(f"{self._url}/pods", headers)
        verify = self._verify()
        # A new adapter each time: the authority's file may have been renewed.
        with contextlib.closing(HTTPAdapter()) as adapter:
            return fetch(
                adapter,
                request,
                max_bytes=_MAX_BYTES,
                timeout=self._timeout,
                verify=verify,
            )

    def _verify(self) -> bool | str:
        """Return requests' `verify`: a file or directory of authorities, or False."""
        if not self._https:
            return True
        if self._insecure:
            import urllib3  # noqa: PLC0415

            # `insecure` is the operator's decision; a warning at each poll is noise.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            return False
        import ssl  # noqa: PLC0415

        system = ssl.get_default_verify_paths()  # the default of requests is certifi
        path = self._ca_file or system.cafile or system.capath or ""
        if not os.path.exists(path):
            raise SourceError("refused", f"no certificate authorities at {path!r}")
        return path


def open_kubelet(settings: RuntimeSettings) -> Kubelet:
    """Return the kubelet of *settings*; ValueError if its address is invalid."""
    return Kubelet(
        settings.kubelet,
        token_file=settings.kubelet_token_file,
        ca_file=settings.kubelet_ca_file,
        insecure=settings.kubelet_insecure,
    )


def _read_token(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_TOKEN_BYTES)
    except TimeoutError:  # the caller's timeout is an OSError too
        raise
    except OSError as error:
        raise SourceError("refused", f"token_file {path}: {error.strerror}") from error


def parse_token(text: bytes, path: str) -> str:
    r"""
    Return the token of a token file; SourceError, naming *path*, if there is none.

    >>> parse_token(b"eyJh.eyJp.c2ln\n", "/token")
    'eyJh.eyJp.c2ln'
    """
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise SourceError("refused", f"token_file {path} contains no token")
    return token.decode("ascii")


def parse_pods(body: bytes | bytearray) -> tuple[Pod, ...]:
    """
    Return the pods of a PodList; SourceError if it is none.

    A static pod is returned under both uids: its cgroups carry the hash of its
    manifest, its mirror pod has the API server's uid. Any author of a pod may set
    that annotation, so it never replaces the uid of a pod.
    """
    items = decode_json(body, _PodList).items or []
    pods = {item.metadata.uid: _pod(item, item.metadata.uid) for item in items}
    for item in items:
        static = (item.metadata.annotations or {}).get("kubernetes.io/config.hash", "")
        if _HASH.fullmatch(static):
            pods.setdefault(static, _pod(item, static))
    return tuple(pods.values())


def _pod(item: _Item, uid: str) -> Pod:
    context = item.spec.security_context or _SecurityContext()
    return Pod(
        uid=uid,
        namespace=item.metadata.namespace,
        name=item.metadata.name,
        sysctls={dotted(entry.name): entry.value for entry in context.sysctls or []},
    )
