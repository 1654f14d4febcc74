"""A file system that forgets what nobody synced when the power is cut; kill -9 alone keeps the page cache.

It lives in memory and keeps two states of each file and folder: what programs see, and what the medium
holds. A file's content reaches the medium by fsync or fdatasync of the file, its name by fsync of the
folder, nothing else does. Run as a program, it serves a folder by FUSE until that is unmounted; making the
folder `.cut` in it writes what the medium holds to another, ordinary folder, as whoever switches the power
on again would find it.
"""

import errno
import itertools
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.faults_victim import wait_until

CUT = "/.cut"


def missing() -> str | None:
    """Why this machine cannot mount it; None if it can."""
    if sys.platform != "linux" or not Path("/dev/fuse").exists():
        return "needs Linux with FUSE"
    if shutil.which("fusermount3") is None and shutil.which("fusermount") is None:
        return "needs fuse3 and root: apt-get install fuse3"
    return None


@dataclass(eq=False)
class Node:
    """A file, or a folder.

    Attributes:
        mode: As in stat.
        data: Content of a file.
        entries: Content of a folder.
        synced_data: The file's content on the medium.
        synced_entries: The folder's content on the medium.
    """

    mode: int
    data: bytearray = field(default_factory=bytearray)
    entries: "dict[str, Node]" = field(default_factory=dict)
    synced_data: bytes = b""
    synced_entries: "dict[str, Node]" = field(default_factory=dict)
    time_ns: int = field(default_factory=time.time_ns)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    def write_out(self, target: Path) -> None:
        """Write what the medium holds to `target`."""
        if self.is_folder:
            target.mkdir()
            for name, node in self.synced_entries.items():
                node.write_out(target / name)
        elif stat.S_ISREG(self.mode):  # sockets are of no use to anybody else
            target.write_bytes(self.synced_data)


class ForgetfulDisk:
    """The operations that FUSE asks for; one thread calls them."""

    def __init__(self, found: Path) -> None:
        """Write what the medium holds to `found` when the power is cut."""
        self._found = found
        self._root = Node(stat.S_IFDIR | 0o755)
        data = Node(stat.S_IFDIR | 0o755)
        self._root.entries["data"] = self._root.synced_entries["data"] = data
        self._open: dict[int, Node] = {}
        self._handles = itertools.count(1)

    def _node(self, path: str) -> Node:
        node = self._root
        for name in filter(None, path.split("/")):
            if name not in node.entries:
                raise OSError(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition("/")
        return self._node(folder), name

    def _remember(self, node: Node) -> int:
        handle = next(self._handles)
        self._open[handle] = node
        return handle

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._open[fh] if fh in self._open else self._node(path)
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), node.time_ns)
        links = 2 if node.is_folder else 1
        size = len(node.data)
        return {
            "st_mode": node.mode,
            "st_nlink": links,
            "st_size": size,
            "st_blocks": -(-size // 512),
        } | times

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._node(path).entries]

    def mkdir(self, path: str, mode: int) -> int:
        if path == CUT:
            self._root.synced_entries["data"].write_out(self._found)
        folder, name = self._place(path)
        folder.entries[name] = Node(stat.S_IFDIR | mode)
        return 0

    def rmdir(self, path: str) -> int:
        if self._node(path).entries:
            raise OSError(errno.ENOTEMPTY, path)
        return self.unlink(path)

    def unlink(self, path: str) -> int:
        folder, name = self._place(path)
        del folder.entries[name]
        return 0

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        folder, name = self._place(old)
        new_folder, new_name = self._place(new)
        new_folder.entries[new_name] = folder.entries.pop(name)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        folder, name = self._place(path)
        node = folder.entries[name] = Node(stat.S_IFREG | mode)
        return self._remember(node)

    def mknod(self, path: str, mode: int, dev: int) -> int:
        folder, name = self._place(path)
        folder.entries[name] = Node(mode)
        return 0

    def open(self, path: str, flags: int) -> int:
        return self._remember(self._node(path))

    def release(self, path: str, fh: int) -> int:
        del self._open[fh]
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._open[fh].data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        node = self._open[fh]
        if offset > len(node.data):
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset : offset + len(data)] = data
        node.time_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        node = self._open[fh] if fh in self._open else self._node(path)
        del node.data[length:]
        node.data.extend(bytes(length - len(node.data)))
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        node = self._open[fh]
        node.synced_data = bytes(node.data)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        node = self._node(path)
        node.synced_entries = dict(node.entries)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        node = self._node(path)
        node.mode = stat.S_IFMT(node.mode) | mode
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Sequence[float] | None = None) -> int:
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 20
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks}


@dataclass
class Mounted:
    """A mounted forgetful disk.

    Attributes:
        data: A folder on it.
        found: Where what it held is, once the power was cut.
    """

    data: Path
    found: Path

    def cut_power(self) -> None:
        """Forget what was not synced; whoever had files open here is dead."""
        (self.data.parent / CUT.strip("/")).mkdir()


@contextmanager
def mounted(folder: Path) -> Iterator[Mounted]:
    """Mount a forgetful disk below `folder`."""
    mount, found = folder / "disk", folder / "found"
    mount.mkdir()
    program = [sys.executable, "-m", "helpers.faults_forgetful_disk", str(mount), str(found)]
    server = subprocess.Popen(program, cwd=Path(__file__).parents[1])
    try:
        wait_until(lambda: (mount / "data").is_dir() or server.poll() is not None, "the disk is mounted")
        assert server.poll() is None, "the disk cannot be mounted"
        yield Mounted(mount / "data", found)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=False)
        server.kill()  # it waits for those who still have files open
        server.wait()


def serve(mount: Path, found: Path) -> None:
    """Serve the folder `mount` until it is unmounted."""
    import mfusepy

    class Operations(ForgetfulDisk, mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

    mfusepy.FUSE(Operations(found), str(mount), foreground=True, nothreads=True, hard_remove=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
