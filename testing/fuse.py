"""
A FUSE file system whose server can be made to hang, as a dead NFS server does.

Any name exists in it: as a directory if it ends in ".d", else as an empty file on which
a namespace may be mounted. Nothing is cached, so each path walk below it waits for the
server; once that hangs, until the server ends. The protocol: linux/fuse.h.
"""

import contextlib
import ctypes
import errno
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

_INIT, _LOOKUP, _GETATTR = 26, 1, 3
_WITHOUT_REPLY = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_VERSION = (7, 31)

_IN_HEADER = Struct("=IIQQIIIHH")
_OUT_HEADER = Struct("=IiQ")
_INIT_OUT = Struct("=IIIIHHIIHHII24x")
_ENTRY_OUT = Struct("=QQQQII")
_ATTR_OUT = Struct("=QII")
_ATTR = Struct("=6Q10I")

_ROOT = 1
_DIRECTORY, _FILE = 0o040755, 0o100644
_BUFFER_BYTES = 1 << 17

_libc = ctypes.CDLL(None, use_errno=True)


class HangingFs:
    """A mounted file system; `path` is its directory."""

    def __init__(self, server: "subprocess.Popen[str]", path: Path) -> None:
        self._server = server
        self.path = path

    def hang(self) -> None:
        """Make the server hang."""
        self._request("hang")

    def answer(self) -> None:
        """Make the server answer again, also what has waited."""
        self._request("answer")

    def _request(self, word: str) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{word}\n")
        self._server.stdin.flush()
        assert self._server.stdout.readline() == f"{word}\n"


@contextlib.contextmanager
def hanging_fs(path: Path, *, pid: int | None = None) -> Iterator[HangingFs]:
    """
    Mount a file system at *path*, in the mount namespace of *pid* or else in ours.

    At the end its server is killed, which fails what waits for it with ENOTCONN.
    """
    enter = () if pid is None else ("nsenter", f"--mount=/proc/{pid}/ns/mnt")
    command = (*enter, sys.executable, "-I", "-S", __file__, str(path))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout
        try:
            assert server.stdout.readline() == "mounted\n", (
                "cannot mount: are you root?"
            )
            yield HangingFs(server, path)
        finally:
            server.kill()
            server.wait()
            umount = (*enter, "umount", "--lazy", str(path))
            subprocess.run(umount, check=False, stderr=subprocess.DEVNULL)


class _Nodes:
    """The files and directories that were looked up, by number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._modes = {_ROOT: _DIRECTORY}

    def number(self, parent: int, name: bytes) -> int:
        new = len(self._numbers) + _ROOT + 1
        number = self._numbers.setdefault((parent, name), new)
        self._modes[number] = _DIRECTORY if name.endswith(b".d") else _FILE
        return number

    def attributes(self, number: int) -> bytes:
        mode = self._modes[number]
        return _ATTR.pack(number, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)


def _serve(path: str) -> None:
    fuse, nodes = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC), _Nodes()
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if _libc.mount(b"hanging", os.fsencode(path), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), f"cannot mount at {path}")
    _reply(fuse, nodes)  # to FUSE_INIT, which the mount has sent
    _acknowledge("mounted")
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(fuse, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == fuse:
                _reply(fuse, nodes)
            elif not (word := os.read(0, 64).decode().strip()):
                return
            else:
                poll.modify(fuse, 0 if word == "hang" else select.POLLIN)
                _acknowledge(word)


def _acknowledge(word: str) -> None:
    os.write(1, f"{word}\n".encode())


def _reply(fuse: int, nodes: _Nodes) -> None:
    """Read a request and reply to it."""
    request = os.read(fuse, _BUFFER_BYTES)
    _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
    if opcode in _WITHOUT_REPLY:
        return
    error, body = 0, b""
    if opcode == _INIT:
        body = _INIT_OUT.pack(*_VERSION, 0, 0, 0, 0, 4096, 1, 0, 0, 0, 0)
    elif opcode == _LOOKUP:
        name = request[_IN_HEADER.size :].rstrip(b"\0")
        number = nodes.number(node, name)
        body = _ENTRY_OUT.pack(number, 0, 0, 0, 0, 0) + nodes.attributes(number)
    elif opcode == _GETATTR:
        body = _ATTR_OUT.pack(0, 0, 0) + nodes.attributes(node)
    else:
        error = -errno.ENOSYS
    header = _OUT_HEADER.pack(_OUT_HEADER.size + len(body), error, unique)
    os.write(fuse, header + body)


if __name__ == "__main__":
    _serve(sys.argv[1])
