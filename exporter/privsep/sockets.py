"""Bind the sockets to listen on: TCP, unix, or those that systemd passed."""

import contextlib
import os
import re
import socket
import stat
from collections.abc import Iterator, Sequence

from exporter.errors import ConfigError

SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)

_UNIX = "unix:"
_BACKLOG = 128
_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<host>[^][:]*)):(?P<port>[0-9]{1,5})"
)
_MAX_PORT = 65535


@contextlib.contextmanager
def bound_sockets(
    addresses: Sequence[str], *, systemd: bool
) -> Iterator[list[socket.socket]]:
    """
    Listen on *addresses*, or on the sockets from systemd, until the block ends.

    Raises ConfigError. A unix socket that was created here is deleted afterwards.
    """
    with contextlib.ExitStack() as cleanup:
        if systemd:
            listeners = systemd_sockets()
        else:
            listeners = [_bind(address, cleanup) for address in addresses]
        for listener in listeners:
            cleanup.enter_context(listener)
        yield listeners


def _bind(address: str, cleanup: contextlib.ExitStack) -> socket.socket:
    if not address.startswith(_UNIX):
        return _bind_tcp(address)
    path = address.removeprefix(_UNIX).replace("//", "/", 1)
    listener = _bind_unix(path)
    cleanup.callback(_unlink, path)
    return listener


def _bind_tcp(address: str) -> socket.socket:
    """Bind *address*; without a host, all IPv6 and IPv4 addresses."""
    host, port = split_address(address)
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port),
                family=socket.AF_INET6,
                dualstack_ipv6=True,
                backlog=_BACKLOG,
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise _bind_error(address, error) from error


def _bind_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _unlink_if_stale(path)
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - as open as a TCP port of this node
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _bind_error(f"{_UNIX}{path}", error) from error
    return listener


def _unlink_if_stale(path: str) -> None:
    """Delete *path* if it is a socket that no process listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            _unlink(path)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _bind_error(address: str, error: OSError) -> ConfigError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ConfigError(
        f"cannot listen on {address}: {reason}; choose another address with "
        "--web.listen-address"
    )


def systemd_sockets() -> list[socket.socket]:
    """
    Return the listening sockets that systemd passed, sd_listen_fds(3).

    Neither they nor the variables that describe them are inherited by our children.
    Raises ConfigError if there are none, or one does not listen.
    """
    pid, count = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or not int(count):
        raise ConfigError(
            "systemd passed no socket: start the exporter from a .socket unit, or omit "
            "--web.systemd-socket"
        )
    fds = range(SD_LISTEN_FDS_START, SD_LISTEN_FDS_START + int(count))
    listeners = [socket.socket(fileno=fd) for fd in fds]
    for listener in listeners:
        listener.set_inheritable(False)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigError(
                f"systemd passed fd {listener.fileno()}, which is no listening socket; "
                "its unit needs ListenStream="
            )
    return listeners


def socket_address(listener: socket.socket) -> str:
    """Return the address of *listener* in the form of --web.listen-address."""
    if listener.family == socket.AF_UNIX:
        return f"{_UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """
    Return host and port of a listen address; the host "" means all addresses.

    Raises ConfigError.

    >>> split_address("[::1]:10128")
    ('::1', 10128)
    """
    match = _ADDRESS.fullmatch(address)
    if not match or int(match["port"]) > _MAX_PORT:
        message = (
            f"invalid listen address {address!r}: expected HOST:PORT, :PORT or "
            "[IPV6]:PORT with a port up to 65535, or unix:PATH"
        )
        raise ConfigError(message)
    return match["v6"] or match["host"] or "", int(match["port"])
