"""What a process should be told before torch is loaded, so that a CPU run is fast and stays so beside other work.

Nothing here is needed for right results, and nothing is imported from torch.
"""

from __future__ import annotations

import ctypes
import os
import sys

SPIN_COUNT = "2000"
"""Turns that an OpenMP thread spins at the end of each parallel region before it sleeps.

By default it spins for milliseconds. Where something else wants the core too, the thread that all the others wait for
is the one that is not running: two busy processes on two cores took a step from 40 ms to 1,500 ms, with this to 100 ms.
Alone it costs about 5 % (39.8 ms against 37.5 with 20,000 turns, which beside other work took anything up to 300 ms).
"""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_MMAP_THRESHOLD = 32 * 2**20  # glibc's own upper limit on 64-bit machines
_TOP_PAD = 64 * 2**20


def prepare_process() -> None:
    """Sets up threads and memory for training on a CPU. To be called before torch is imported and threads are started.

    Settings that the environment makes already (`GOMP_SPINCOUNT`, `OMP_WAIT_POLICY`) are left as they are.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    keep_freed_memory()


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
