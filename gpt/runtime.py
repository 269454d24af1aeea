"""What a process should be told before torch is loaded, so that a CPU run is fast and stays so beside other work.

Nothing here is needed for right results, and nothing is imported from torch.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path

SPIN_COUNT = "2000"
"""Turns that an OpenMP thread spins at the end of each parallel region before it sleeps.

By default it spins for milliseconds. Where something else wants the core too, the thread that all the others wait for
is the one that is not running: two busy processes on two cores took a step from 40 ms to 1,500 ms, with this to 100 ms.
Alone it costs about 5 % (39.8 ms against 37.5 with 20,000 turns, which beside other work took anything up to 300 ms).
"""

GIVEN_WAY = 10
"""Steps of niceness by which threads that compute stand behind the one that draws: beside it they get a tenth of a core
while it has something to do."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_MMAP_THRESHOLD = 32 * 2**20  # glibc's own upper limit on 64-bit machines
_TOP_PAD = 64 * 2**20
_MADV_HUGEPAGE, _HUGE_PAGE = 14, 2**21  # mman.h; of x86 and most of ARM
_IN_HUGE_PAGES = 512 * 2**20
"""Bytes of the heap: more than a model takes whose step is so short that its pages count."""


def prepare_process() -> None:
    """Sets up threads and memory for training on a CPU. To be called before torch is imported and threads are started.

    Settings that the environment makes already (`GOMP_SPINCOUNT`, `OMP_WAIT_POLICY`) are left as they are.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if keep_freed_memory():
        use_huge_pages()


def give_way() -> bool:
    """Lowers the priority of the calling thread, and of all that it starts from now on; True where that was done.

    For training on a CPU beside a screen in the same process: a key is answered by a thread that needs 10 ms of a core,
    and both cores are taken. Only where the kernel shares cores out by sessions, containers or jobs first: there it
    ranks the threads of this process, and takes nothing from training in favour of anybody else's.
    """
    if sys.platform != "linux" or not shares_by_group():
        return False
    thread = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + GIVEN_WAY)
    except OSError:
        return False
    return True


def has_card(root: Path = Path("/")) -> bool:
    """Whether there may be a GPU that `train.device = "auto"` would take; asked of the kernel, torch not being there
    yet."""
    return any(any((root / "dev").glob(name)) for name in ("nvidia[0-9]*", "kfd", "dxg"))


def is_on_cpu(asked: str) -> bool:
    """Whether `train.device = asked` comes to the CPU, as far as that is to be known without torch."""
    return asked == "cpu" or (asked == "auto" and not has_card() and sys.platform != "darwin")


def shares_by_group(root: Path = Path("/")) -> bool:
    """Whether priorities count only within this process's session (autogroup) or control group.

    Args:
        root: where `proc` and `sys` are.
    """
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
        if any("cpu" in controllers.split(",") and path != "/" for _, controllers, path in groups):
            return True  # version 1
        for path in [path for _, controllers, path in groups if not controllers]:  # version 2
            if (root / "sys/fs/cgroup" / path.lstrip("/") / "cpu.weight").exists():
                return True
        return (root / "proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    except (OSError, ValueError):
        return False


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed instead of giving it back; True where that was possible.

    A step frees and allocates the same tensors again. Given back, each costs page faults the next time: a fifth of a
    small model's step. All threads share one arena: the trainer is not the main one, and the others ask for little.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    wanted = (
        (_M_MMAP_THRESHOLD, _MMAP_THRESHOLD), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD), (_M_ARENA_MAX, 1),
    )  # fmt: skip
    return all([mallopt(option, value) == 1 for option, value in wanted])


def use_huge_pages() -> bool:
    """Asks Linux to back the heap that torch is going to use with pages of 2 MB; True where it agreed.

    A small model's step goes through 40 MB, which are 10,000 ordinary pages; a core knows the places of 1,500 to 3,000
    of them, and walks through tables for each other one. In huge pages a compiled step takes 3 % less (on a virtual
    machine, whose tables are twice as deep). Nothing is taken before it is used.

    To be called after `keep_freed_memory`.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.sbrk.argtypes, libc.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(_M_TOP_PAD, _IN_HUGE_PAGES)
    block = libc.malloc(_MMAP_THRESHOLD - _HUGE_PAGE)  # the heap grows for it, and by so much more
    libc.mallopt(_M_TOP_PAD, _TOP_PAD)
    begin = -(-(block or 0) // _HUGE_PAGE) * _HUGE_PAGE
    size = libc.sbrk(0) - begin
    is_of_heap = 0 < size <= 2 * _IN_HUGE_PAGES  # else it could not grow so far, and this lies elsewhere
    agreed = is_of_heap and libc.madvise(begin, size, _MADV_HUGEPAGE) == 0
    libc.free(block)
    return agreed
