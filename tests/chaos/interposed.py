"""The calls by which Python asks the file system for something, below one folder: watched, or made to fail.

All that the program does to files goes through functions of `os`, and through `open`, whose file objects are replaced
by ones that write through a function here. Reading an open file is left alone.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

CHANGING = (
    "open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate", "close",
    "mkdir", "rmdir", "rename", "replace", "link", "symlink", "unlink", "remove",
)  # fmt: skip
LOOKING = ("listdir", "scandir", "stat", "lstat", "readlink")
_TWO_PATHS = ("rename", "replace", "link")


@dataclass(slots=True)
class Call:
    """One call, before or after it was carried out."""

    name: str
    path: str
    """Absolute; of an open file, the path by which it was opened."""
    other: str = ""
    """The second path of a rename or a hard link; what a symbolic link leads to."""
    descriptor: int = -1
    """Of calls that take an open file; of `open`, the one it gave."""
    data: bytes = b""
    """What is to be written; afterwards, what was."""
    offset: int = 0
    """Where it was written, bytes."""
    size: int = 0
    """To which an open file is cut or reserved, bytes."""
    flags: int = 0
    """Of `open`, as in `os.open`."""


class Interposed:
    """Inside the block, shows each call that concerns `root` to `before`, which may raise, and to `after`.

    Args:
        before: may raise an OSError instead of the call (a `close` is carried out all the same), and may shorten the
            `data` of a write.
        after: gets the call once it has succeeded.
        looking: whether those that only look are shown too.
    """

    def __init__(
        self,
        root: Path,
        before: Callable[[Call], None] | None = None,
        after: Callable[[Call], None] | None = None,
        *,
        looking: bool = False,
    ) -> None:
        self._root = str(root)
        self._before, self._after = before or _nothing, after or _nothing
        self._names = CHANGING + (LOOKING if looking else ())
        self._real: dict[str, Any] = {}
        self._paths: dict[int, str] = {}

    def __enter__(self) -> Interposed:
        for name in self._names:
            if hasattr(os, name):
                self._real[name] = getattr(os, name)
                setattr(os, name, self._wrapped(name))
        self._open = io.open
        io.open = builtins.open = self._open_file  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        io.open = builtins.open = self._open
        for name, function in self._real.items():
            setattr(os, name, function)

    def _concerns(self, path: str) -> bool:
        return path.startswith(self._root) and path[len(self._root) : len(self._root) + 1] in ("", "/")

    def _absolute(self, path: Any, folder: int | None = None) -> str:
        """An absolute path, or an empty one where it cannot be below the root."""
        if isinstance(path, int):
            return self._paths.get(path, "")
        text = os.fsdecode(path)
        if folder is not None:
            base = self._paths.get(folder)
            return f"{base}/{text}" if base else ""
        return text if text.startswith("/") else f"{Path.cwd()}/{text}"

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]
        if name == "open":
            return self._os_open
        if name in ("write", "pwrite"):
            return lambda fd, data, *rest: self.write(fd, data, *rest)
        if name in ("fsync", "fdatasync", "close", "ftruncate", "posix_fallocate"):
            return lambda fd, *rest: self._on_descriptor(name, fd, *rest)

        def on_path(path: Any = ".", *rest: Any, **options: Any) -> Any:
            call = Call(name, self._absolute(path, options.get("dir_fd", options.get("src_dir_fd"))))
            if name in _TWO_PATHS:
                call.other = self._absolute(rest[0], options.get("dst_dir_fd"))
            elif name == "symlink":
                call.path, call.other = self._absolute(rest[0], options.get("dir_fd")), os.fsdecode(path)
            if not self._concerns(call.path):
                return real(path, *rest, **options)
            self._before(call)
            result = real(path, *rest, **options)
            self._after(call)
            return result

        return on_path

    def _os_open(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:
        absolute = self._absolute(path, options.get("dir_fd"))
        if not self._concerns(absolute):
            return self._real["open"](path, flags, *rest, **options)
        call = Call("open", absolute, flags=flags)
        self._before(call)
        call.descriptor = self._real["open"](path, flags, *rest, **options)
        self._paths[call.descriptor] = absolute
        self._after(call)
        return call.descriptor

    def _open_file(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        path = self._absolute(file)
        writes = any(letter in mode for letter in "wax+")
        if not self._concerns(path) or (isinstance(file, int) and not writes):
            return self._open(file, mode, buffering, *rest, **options)
        if not isinstance(file, int):
            flags = os.O_CREAT * (mode[0] in "wax") | os.O_TRUNC * (mode[0] == "w") | os.O_EXCL * (mode[0] == "x")
            call = Call("open", path, flags=flags | (os.O_RDWR if writes else os.O_RDONLY))
            self._before(call)
            raw = _File(file, mode.replace("b", "").replace("t", ""), through=self)
            call.descriptor = raw.fileno()
            self._paths[call.descriptor] = path
            self._after(call)
        else:
            raw = _File(file, mode.replace("b", "").replace("t", ""), through=self)
        if buffering == 0:
            return raw
        if "+" in mode:
            buffered: Any = io.BufferedRandom(raw)
        else:
            buffered = io.BufferedWriter(raw) if writes else io.BufferedReader(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, *rest, **options)

    def write(self, fd: int, data: Any, *offset: int, real: Callable[..., int] | None = None) -> int:
        """`os.write` and `os.pwrite`; `real` writes in their stead."""
        real = real or self._real["pwrite" if offset else "write"]
        if fd not in self._paths:
            return real(fd, data, *offset)
        call = Call("pwrite" if offset else "write", self._paths[fd], descriptor=fd, data=bytes(data))
        self._before(call)
        count = real(fd, call.data, *offset)
        call.data = call.data[:count]
        call.offset = offset[0] if offset else os.lseek(fd, 0, os.SEEK_CUR) - count
        self._after(call)
        return count

    def _on_descriptor(self, name: str, fd: int, *rest: int) -> None:
        if fd not in self._paths:
            return self._real[name](fd, *rest)
        call = Call(name, self._paths[fd], descriptor=fd, size=sum(rest))
        if name == "close":
            del self._paths[fd]
            self._real[name](fd)  # whatever it says, it is closed
            self._before(call)
        else:
            self._before(call)
            self._real[name](fd, *rest)
        self._after(call)

    def closed(self, fd: int) -> None:
        """A file object has closed its descriptor."""
        if path := self._paths.pop(fd, None):
            call = Call("close", path, descriptor=fd)
            self._before(call)
            self._after(call)


class _File(io.FileIO):
    """A file that writes through an Interposed."""

    def __init__(self, file: Any, mode: str, *, through: Interposed) -> None:
        super().__init__(file, mode)
        self._through = through

    def write(self, data: Any) -> int:
        return self._through.write(self.fileno(), data, real=lambda fd, piece: super(_File, self).write(piece))

    def close(self) -> None:
        descriptor = None if self.closed else self.fileno()
        super().close()
        if descriptor is not None:
            self._through.closed(descriptor)


def _nothing(call: Call) -> None:
    return
