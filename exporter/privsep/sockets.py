"""Sockets to listen on: addresses, paths, and what systemd hands over."""

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
    Listen on every address, or on systemd's sockets, until the block ends.

    Raises ConfigError. A unix socket of ours is taken away in the end.
    """
    with contextlib.ExitStack() as opened:
        if systemd:
            made = systemd_sockets()
        else:
            made = [_open(address, opened) for address in addresses]
        for one in made:
            opened.enter_context(one)
        yield made


def _open(address: str, opened: contextlib.ExitStack) -> socket.socket:
    if not address.startswith(_UNIX):
        return _tcp(address)
    path = address.removeprefix(_UNIX).replace("//", "/", 1)
    made = _unix(path)
    opened.callback(_unlink, path)
    return made


def _tcp(address: str) -> socket.socket:
    """Bind *address*; without a host, every IPv6 and IPv4 address."""
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
        raise _cannot(address, error) from error


def _unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _unlink_if_left_behind(path)
        made.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - as open as a TCP port of this node
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _cannot(f"{_UNIX}{path}", error) from error
    return made


def _unlink_if_left_behind(path: str) -> None:
    """Take away a socket that nobody listens on any more; anything else stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1)
        try:
            knock.connect(path)
        except ConnectionRefusedError:
            _unlink(path)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _cannot(address: str, error: OSError) -> ConfigError:
    why = os.strerror(error.errno) if error.errno else str(error)
    return ConfigError(
        f"cannot listen on {address}: {why}; choose another with --web.listen-address"
    )


def systemd_sockets() -> list[socket.socket]:
    """
    Return the listening sockets that systemd handed over; sd_listen_fds(3).

    They are ours alone: who is started later is not told of them.
    """
    pid, number = (os.environ.pop(n, "") for n in ("LISTEN_PID", "LISTEN_FDS"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not number.isdecimal() or not int(number):
        raise ConfigError(
            "systemd handed over no socket: start it by a .socket unit, or leave out "
            "--web.systemd-socket"
        )
    fds = range(SD_LISTEN_FDS_START, SD_LISTEN_FDS_START + int(number))
    made = [socket.socket(fileno=fd) for fd in fds]
    for one in made:
        one.set_inheritable(False)
        if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigError(
                f"systemd handed over a socket that does not listen: {one.fileno()}; "
                "its unit has to be a ListenStream="
            )
    return made


def socket_address(one: socket.socket) -> str:
    """Return where a socket listens, as --web.listen-address takes it."""
    if one.family == socket.AF_UNIX:
        return f"{_UNIX}{one.getsockname()}"
    host, port = one.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """
    Return host and port of a listen address; the host "" means every address.

    >>> split_address("[::1]:10128")
    ('::1', 10128)
    """
    found = _ADDRESS.fullmatch(address)
    if not found or int(found["port"]) > _MAX_PORT:
        message = (
            f"listen address {address!r}: want HOST:PORT, :PORT, [IPV6]:PORT with a "
            "port up to 65535, or unix:PATH"
        )
        raise ConfigError(message)
    return found["v6"] or found["host"] or "", int(found["port"])
