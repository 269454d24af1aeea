"""A disk as a crash finds it: what was asked of it is there, or not yet, or in part.

The model is that of POSIX at its least obliging, as SQLite's crash tests take it: nothing is certain but what an fsync
has covered. Of a file's writes since its last fsync each may be there whole, be missing, be torn at the borders of
sectors, or have left garbage; its length may have grown without its content. Of a folder's new and vanished names since
its own fsync any may be there, in any combination; a rename alone is one change, as journals make it, and renamed over
a name it replaces it. A symbolic link comes with what it leads to.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.image import Image
from tests.chaos.interposed import Call

SECTOR = 512
"""Bytes that a disk writes as one."""


@dataclass(eq=False, slots=True)
class Folder:
    names: dict[str, Node] = field(default_factory=dict)
    """As a running program sees it."""
    durable: dict[str, Node] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Since the last fsync: where and what was written, or to which length it was cut or grown (None)."""


@dataclass(eq=False, slots=True)
class Link:
    target: str


Node = Folder | File | Link


@dataclass(eq=False, slots=True)
class Change:
    """Names that appear (a node) or vanish (None) together."""

    entries: list[tuple[Folder, str, Node | None]]


class Disk:
    """Replays calls; `crash` gives what may be found if the power fails now.

    Paths are absolute ones of the disk.

    Args:
        image: what is on it, all of it durable.
    """

    def __init__(self, image: Image | None = None) -> None:
        self.top = Folder()
        self._pending: list[Change] = []
        self._open: dict[int, Node] = {}
        for path in sorted(image or {}):
            content = (image or {})[path]
            folder, name = self._place(f"/{path}")
            node: Node = Folder() if content is None else Link(content) if isinstance(content, str) else File()
            if isinstance(node, File) and isinstance(content, bytes):
                node.content, node.durable = bytearray(content), content
            folder.names[name] = folder.durable[name] = node

    def apply(self, call: Call) -> bool:
        """Carries a call out; False where it changes nothing that a crash could undo or keep."""
        return _ACTIONS.get(call.name, Disk._ignore)(self, call)

    # -- what calls do ----------------------------------------------------------------------------------------------

    def _ignore(self, call: Call) -> bool:
        return False

    def _do_open(self, call: Call) -> bool:
        folder, name = self._place(call.path)
        node = folder.names.get(name) if name else folder
        made = node is None
        if node is None:
            node = File()
            self._change((folder, name, node))
        elif call.flags & os.O_TRUNC and isinstance(node, File):
            node.content.clear()
            node.pending.append((0, None))
        self._open[call.descriptor] = node
        return made or bool(call.flags & os.O_TRUNC)

    def _do_close(self, call: Call) -> bool:
        self._open.pop(call.descriptor, None)
        return False

    def _do_write(self, call: Call) -> bool:
        node = self._open[call.descriptor]
        assert isinstance(node, File)
        node.content[call.offset : call.offset + len(call.data)] = call.data
        node.pending.append((call.offset, call.data))
        return True

    def _do_truncate(self, call: Call) -> bool:
        node = self._open[call.descriptor]
        assert isinstance(node, File)
        _resize(node.content, call.size)
        node.pending.append((call.size, None))
        return True

    def _do_reserve(self, call: Call) -> bool:
        node = self._open[call.descriptor]
        assert isinstance(node, File)
        if call.size > len(node.content):
            _resize(node.content, call.size)
            node.pending.append((call.size, None))
        return True

    def _do_sync(self, call: Call) -> bool:
        node = self._open[call.descriptor]
        if isinstance(node, File):
            node.durable = bytes(node.content)
            node.pending.clear()
        elif isinstance(node, Folder):
            kept = []
            for change in self._pending:
                if any(folder is node for folder, _, _ in change.entries):
                    _settle(change)
                else:
                    kept.append(change)
            self._pending = kept
        return True

    def _do_mkdir(self, call: Call) -> bool:
        folder, name = self._place(call.path)
        self._change((folder, name, Folder()))
        return True

    def _do_remove(self, call: Call) -> bool:
        folder, name = self._place(call.path)
        self._change((folder, name, None))
        return True

    def _do_rename(self, call: Call) -> bool:
        source, old = self._place(call.path)
        target, new = self._place(call.other)
        self._change((target, new, source.names[old]), (source, old, None))
        return True

    def _do_link(self, call: Call) -> bool:
        source, old = self._place(call.path)
        target, new = self._place(call.other)
        self._change((target, new, source.names[old]))
        return True

    def _do_symlink(self, call: Call) -> bool:
        folder, name = self._place(call.path)
        self._change((folder, name, Link(call.other)))
        return True

    def _change(self, *entries: tuple[Folder, str, Node | None]) -> None:
        for folder, name, node in entries:
            _put(folder.names, name, node)
        self._pending.append(Change(list(entries)))

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder that a path's last name is in, and that name; the root has an empty one."""
        folder, parts = self.top, path[1:].split("/")
        for part in parts[:-1]:
            node = folder.names[part]
            assert isinstance(node, Folder)
            folder = node
        return folder, parts[-1]

    # -- crashes ----------------------------------------------------------------------------------------------------

    def now(self) -> Image:
        """What a running program sees: what a kill leaves."""
        return dict(_walk(self.top, lambda folder: folder.names, lambda file: bytes(file.content)))

    def crash(self, chance: random.Random, manner: str) -> Image:
        """What may be found after a crash.

        Args:
            manner: `lost`: nothing but what is durable; `names`: all names, and content only where durable; `content`:
                the other way round; `mixed`: each change and each sector as chance has it; `garbled`: the same, with
                garbage where something is missing.
        """
        if manner == "mixed" or manner == "garbled":
            likely = chance.choice((0.15, 0.5, 0.85))
            kept = [change for change in self._pending if chance.random() < likely]
        else:
            kept = self._pending if manner == "names" else []
        changed: dict[Folder, dict[str, Node]] = {}
        for change in kept:
            for folder, name, node in change.entries:
                names = changed.get(folder)
                if names is None:
                    names = changed[folder] = dict(folder.durable)
                _put(names, name, node)

        def names_of(folder: Folder) -> dict[str, Node]:
            return changed.get(folder, folder.durable)

        def content_of(file: File) -> bytes:
            if not file.pending or manner in ("lost", "names"):
                return file.durable
            return bytes(file.content) if manner == "content" else _torn(file, chance, garbled=manner == "garbled")

        return dict(_walk(self.top, names_of, content_of))


MANNERS = ("lost", "names", "content", "mixed", "garbled")

_ACTIONS: dict[str, Callable[[Disk, Call], bool]] = {
    "open": Disk._do_open, "close": Disk._do_close, "write": Disk._do_write, "pwrite": Disk._do_write,
    "fsync": Disk._do_sync, "fdatasync": Disk._do_sync, "ftruncate": Disk._do_truncate,
    "posix_fallocate": Disk._do_reserve, "mkdir": Disk._do_mkdir, "rmdir": Disk._do_remove,
    "unlink": Disk._do_remove, "remove": Disk._do_remove, "rename": Disk._do_rename, "replace": Disk._do_rename,
    "link": Disk._do_link, "symlink": Disk._do_symlink,
}  # fmt: skip


def _put(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _settle(change: Change) -> None:
    for folder, name, node in change.entries:
        _put(folder.durable, name, node)


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _torn(file: File, chance: random.Random, *, garbled: bool) -> bytes:
    """A file's content where some sectors of what is not durable have reached the disk and some have not."""
    content, likely = bytearray(file.durable), chance.choice((0.0, 0.3, 0.7, 0.95, 1.0))
    for place, data in file.pending:
        if data is None:
            if chance.random() < max(likely, 0.5):
                _resize(content, place)
            continue
        at = 0
        while at < len(data):
            size = min(len(data) - at, SECTOR - (place + at) % SECTOR)
            start, there = place + at, chance.random() < likely
            if there or garbled or chance.random() < 0.5:  # the length may have grown without the content
                if len(content) < start + size:
                    _resize(content, start + size)
                if there:
                    content[start : start + size] = data[at : at + size]
                elif garbled:
                    content[start : start + size] = chance.randbytes(size)
            at += size
    return bytes(content)


def _walk(
    folder: Folder, names_of: Callable[[Folder], dict[str, Node]], content_of: Callable[[File], bytes], at: str = ""
) -> Iterator[tuple[str, bytes | str | None]]:
    for name, node in names_of(folder).items():
        path = f"{at}{name}"
        if isinstance(node, Folder):
            yield path, None
            yield from _walk(node, names_of, content_of, f"{path}/")
        else:
            yield path, node.target if isinstance(node, Link) else content_of(node)
