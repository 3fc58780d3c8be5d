"""
A FUSE file system with files, and a server that can stop to answer about each of them.

The server is a process of its own, fed with lines on its standard input: `stall PREFIX`
withholds the answers to requests about paths that start with it, `answer` sends them
and answers again. The protocol is that of linux/fuse.h, version 7.31.
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_HEADER = struct.Struct("=IIQQIIII")
_REPLY = struct.Struct("=IiQ")
_ATTR = struct.Struct("=6Q10I")
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ = 1, 2, 3, 14, 15
_STATFS, _RELEASE, _FLUSH, _INIT, _OPENDIR = 17, 18, 25, 26, 27
_READDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = 28, 29, 36, 42


class FuseMount:
    """A mounted file system, from the outside."""

    def __init__(self, path: Path, process: "subprocess.Popen[str]") -> None:
        self.path = path
        self._process = process

    def stall(self, prefix: str = "/") -> None:
        """Stop to answer requests about paths that start with *prefix*."""
        self._send(f"stall {prefix}")

    def answer(self) -> None:
        """Answer what waits, and all that follows."""
        self._send("answer")

    def _send(self, line: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextlib.contextmanager
def fuse_mount(
    path: Path, files: Mapping[str, bytes], *, uid: int = 0, pid: int | None = None
) -> Iterator[FuseMount]:
    """
    Mount a file system at *path* with *files* by their paths, owned by *uid*.

    pid: a process in the mount namespace to mount it in, None for ours.

    At the end the server is killed, which fails what waits for it, and it is unmounted.
    """
    path.mkdir(parents=True, exist_ok=True)
    tree = json.dumps({name: body.decode() for name, body in files.items()})
    enter = () if pid is None else ("nsenter", f"--mount=/proc/{pid}/ns/mnt")
    command = (*enter, sys.executable, __file__, str(path), tree, str(uid))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "mounted\n"
            yield FuseMount(path, process)
        finally:
            process.kill()
            subprocess.run([*enter, "umount", "--lazy", str(path)], check=True)


class _Server:
    def __init__(self, device: int, files: Mapping[str, bytes], uid: int) -> None:
        self._device = device
        self._uid = uid
        self._bodies: dict[str, bytes | None] = {"/": None, **files}
        for name in files:
            for parent in Path(name).parents:
                self._bodies[str(parent)] = None
        self._paths = sorted(self._bodies, key=lambda p: (p != "/", p))
        self._stalled = ""
        self._waiting: list[bytes] = []

    def serve(self) -> None:
        """Answer requests until standard input is closed."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == 0:
                    line = sys.stdin.readline().split()
                    if not line:
                        return
                    self._obey(*line)
                else:
                    self._receive(os.read(self._device, 1 << 20))

    def _obey(self, command: str, prefix: str = "") -> None:
        self._stalled = prefix
        if command == "answer":
            waiting, self._waiting = self._waiting, []
            for request in waiting:
                self._receive(request)
        _say("done")

    def _receive(self, request: bytes) -> None:
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        body = request[_HEADER.size :]
        if opcode in {_FORGET, _BATCH_FORGET, _INTERRUPT}:
            return
        path = self._paths[node - 1] if node else "/"
        if opcode == _LOOKUP:
            path = os.path.join(path, body[:-1].decode())
        if self._stalled and opcode != _INIT and path.startswith(self._stalled):
            self._waiting.append(request)
            return
        reply = self._answer(opcode, path, body)
        error, body = (reply, b"") if isinstance(reply, int) else (0, reply)
        head = _REPLY.pack(_REPLY.size + len(body), -error, unique)
        with contextlib.suppress(OSError):  # the one who asked was killed
            os.write(self._device, head + body)

    def _answer(  # noqa: C901, PLR0911 - a case for each operation
        self, opcode: int, path: str, body: bytes
    ) -> bytes | int:
        match opcode:
            case n if n == _INIT:
                return struct.pack(
                    "=IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, 4096, 1, 1, 0, 0
                )
            case n if n == _LOOKUP:
                if path not in self._bodies:
                    return errno.ENOENT
                node = self._paths.index(path) + 1
                return struct.pack("=QQQQII", node, 0, 0, 0, 0, 0) + self._attr(path)
            case n if n == _GETATTR:
                return struct.pack("=QII", 0, 0, 0) + self._attr(path)
            case n if n in {_OPEN, _OPENDIR}:
                return struct.pack("=QII", 0, 0, 0)
            case n if n == _READ:
                _, offset, size = struct.unpack_from("=QQI", body)
                return (self._bodies[path] or b"")[offset : offset + size]
            case n if n == _READDIR:
                _, offset, _ = struct.unpack_from("=QQI", body)
                return self._entries(path)[offset:]
            case n if n in {_RELEASE, _RELEASEDIR, _FLUSH}:
                return b""
            case n if n == _STATFS:
                return bytes(80)
        return errno.ENOSYS

    def _attr(self, path: str) -> bytes:
        body = self._bodies[path]
        kind = stat.S_IFDIR | 0o755 if body is None else stat.S_IFREG | 0o644
        ino, size = self._paths.index(path) + 1, len(body or b"")
        times = (1_000_000_000,) * 3
        return _ATTR.pack(
            ino, size, 1, *times, 0, 0, 0, kind, 1, self._uid, self._uid, 0, 4096, 0
        )

    def _entries(self, path: str) -> bytes:
        packed = b""
        for node, other in enumerate(self._paths, 1):
            if other == "/" or os.path.dirname(other) != path:
                continue
            name = os.path.basename(other).encode()
            size = 24 + (len(name) + 7) // 8 * 8
            head = struct.pack("=QQII", node, len(packed) + size, len(name), 0)
            packed += (head + name).ljust(size, b"\0")
        return packed


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(path: str, tree: str, uid: str) -> None:
    """Mount at *path* and serve; *tree* is JSON, the text of each file by its path."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"test", path.encode(), b"fuse", 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), "mount")
    _say("mounted")
    files = {name: text.encode() for name, text in json.loads(tree).items()}
    _Server(device, files, int(uid)).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
